// The patches as buttons over the picture: each is removed or put back.

let grid = [1, 1];
let buttons = [];

/** Build one button a patch; `toggle(patch, hide)` is called with what is asked for. */
export function makePatches(container, [rows, columns], toggle) {
  grid = [rows, columns];
  container.style.setProperty("--columns", columns);
  container.style.setProperty("--rows", rows);
  buttons = Array.from({ length: rows * columns }, (_, patch) => {
    const button = document.createElement("button");
    button.type = "button";
    button.tabIndex = patch === 0 ? 0 : -1;
    button.dataset.patch = patch;
    return button;
  });
  container.replaceChildren(...buttons);
  container.onkeydown = (event) => move(event);
  container.onclick = (event) => {
    // A pointer has toggled on its way down; what is left are keys and assistive technology.
    if (event.target.dataset.patch && event.detail === 0) press(event.target, toggle);
  };
  draw(container, toggle);
}

/** Names and states, as they are read out. */
export function namePatches(values, hidden, about) {
  buttons.forEach((button, patch) => {
    const [row, column] = [Math.floor(patch / grid[1]) + 1, (patch % grid[1]) + 1];
    const value = values ? `, ${signed(values[patch])} ${about}` : "";
    button.setAttribute("aria-label", `row ${row}, column ${column}${value}`);
    button.setAttribute("aria-pressed", String(hidden.has(patch)));
    button.title = values ? `${signed(values[patch])} ${about}` : "";
  });
}

export const placeOf = (patch) => `row ${Math.floor(patch / grid[1]) + 1}, column ${(patch % grid[1]) + 1}`;

export const signed = (value) => {
  const size = Math.abs(value).toFixed(2);
  if (!Number(size)) return size; // no sign before a zero
  return `${value < 0 ? "−" : "+"}${size}`;
};

/** A mouse or pen draws over patches; a finger taps, so that it can still scroll the page. */
function draw(container, toggle) {
  let hide = null;
  const over = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-patch]");
  container.onpointerdown = (event) => {
    const button = over(event);
    if (!button || event.button !== 0 || event.pointerType === "touch") return;
    hide = button.getAttribute("aria-pressed") !== "true";
    toggle(Number(button.dataset.patch), hide);
  };
  container.onpointermove = (event) => {
    const button = hide === null ? null : over(event);
    if (button) toggle(Number(button.dataset.patch), hide);
  };
  container.onpointerup = (event) => {
    if (event.pointerType === "touch" && over(event)) press(over(event), toggle);
    hide = null;
  };
  container.onpointerleave = container.onpointercancel = () => { hide = null; };
}

function press(button, toggle) {
  toggle(Number(button.dataset.patch), button.getAttribute("aria-pressed") !== "true");
}

function move(event) {
  const at = buttons.indexOf(event.target);
  const [rows, columns] = grid;
  const [row, column] = [Math.floor(at / columns), at % columns];
  const next = {
    ArrowRight: [row, Math.min(columns - 1, column + 1)],
    ArrowLeft: [row, Math.max(0, column - 1)],
    ArrowDown: [Math.min(rows - 1, row + 1), column],
    ArrowUp: [Math.max(0, row - 1), column],
    Home: [row, 0],
    End: [row, columns - 1],
  }[event.key];
  if (at < 0 || !next) return;
  event.preventDefault();
  buttons[at].tabIndex = -1;
  const button = buttons[next[0] * columns + next[1]];
  button.tabIndex = 0;
  button.focus();
}
