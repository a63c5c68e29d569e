// What scrolls can be reached by the keyboard, and the search says what it is.
addEventListener("load", () => {
  document.querySelector("[data-md-component=search]")?.setAttribute("aria-label", "Search");
  for (const wide of document.querySelectorAll("pre > code, .md-typeset__scrollwrap")) wide.tabIndex = 0;
});
