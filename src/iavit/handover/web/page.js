// The page: a picture in, its explanation out, and what is left when patches are removed.

import { showAnswer, showBalance, showTrust, showWithout } from "./answer.js";
import { ask } from "./asking.js";
import { wireCamera } from "./camera.js";
import { drawMap, drawPicture, legend } from "./drawing.js";
import { makePatches, namePatches } from "./patches.js";
import { best, contributionsTo } from "./trust.js";

const element = (id) => document.getElementById(id);

let description;
let picture = null; // { square, preview, answer, target, hidden, now }, of the newest picture
let brought = 0; // pictures, so that a late answer about an older one is dropped

async function start() {
  try {
    const response = await fetch("model.json");
    if (!response.ok) throw new Error(`model.json cannot be fetched (${response.status}); copy the whole folder`);
    description = await response.json();
    describe();
    await ask("load", { described: description });
    element("state").textContent = "Ready for a picture.";
    document.documentElement.dataset.ready = "yes";
  } catch (error) {
    element("state").textContent = "";
    complain(`The model cannot be run: ${error.message}`);
  }
}

/** What the page says of the model before any picture. */
function describe() {
  const { backbone, classes, version, sha256, runs } = description;
  element("model-name").textContent = `${backbone}, ${classes.length} classes`;
  element("privacy").textContent = runs === "server"
    ? "The server that this page comes from answers; your picture is scaled down here and sent to it."
    : "The model runs in this browser. No picture leaves your device.";
  element("origin").textContent = `Written by iavit ${version}. Weights: SHA-256 ${sha256.slice(0, 16)}…`;
  element("target").replaceChildren(...classes.map((name, number) => new Option(name, number)));
  makePatches(element("patches"), description.grid, toggle);
}

async function bring(file) {
  const number = ++brought;
  const current = () => number === brought;
  element("problem").hidden = true;
  element("state").textContent = "Looking at the picture …";
  try {
    const decoded = await ask("decode", { file });
    if (!current()) return;
    const answer = await ask("explain", { square: decoded.square });
    if (!current()) return;
    picture = { ...decoded, answer, target: best(answer.probabilities), hidden: new Set(), now: null };
    element("explained").hidden = false;
    element("target").value = picture.target;
    show();
    showTrust(null);
    element("state").textContent = `${element("verdict").textContent}. ${element("agreement").textContent}`;
    element("explained").scrollIntoView({ block: "start" });
    const found = await ask("trust", { square: decoded.square, answer });
    if (current()) showTrust(found);
  } catch (error) {
    if (!current()) return;
    element("state").textContent = picture ? "The picture before is still shown." : "Ready for a picture.";
    if (error.status === 401) askForToken(file);
    else complain(`${file.name ?? "The picture"}: ${error.message}`);
  }
}

function show() {
  const { answer, now, target, hidden } = picture;
  const kind = document.querySelector("input[name=map]:checked").value;
  const contributions = contributionsTo(answer, target, description.classes.length);
  const values = { contributions, attention: Array.from(answer.attention), none: null }[kind];
  const name = description.classes[target];
  drawPicture(element("picture"), picture.preview, description, kind !== "none");
  drawMap(element("overlay"), values, kind === "contributions", hidden, description);
  element("picture").setAttribute("aria-label", `The picture, explained for ${name}`);
  namePatches(contributions, hidden, `for ${name}`);
  element("legend").hidden = kind === "none";
  element("legend-strip").style.background = legend(kind === "contributions");
  const strongest = Math.max(...contributions.map(Math.abs)).toFixed(2);
  const signed = kind === "contributions";
  element("legend-low").textContent = signed ? `against ${name}, −${strongest}` : "less";
  element("legend-high").textContent = signed ? `for ${name}, +${strongest}` : "more";
  element("legend-words").textContent = {
    contributions: `What each patch adds to the interpreter’s score of ${name}: red speaks for it, blue against it.`,
    attention: "How much of the interpreter’s attention each patch receives, whatever the class.",
    none: "The picture in its colours, in the square that the model reads.",
  }[kind];
  element("strongest").textContent = `Remove what speaks most for ${name}`;
  element("put-back").disabled = hidden.size === 0;
  showAnswer(answer, now, description.classes);
  showBalance(answer, target, description);
  showWithout(answer, now, hidden, description);
}

function toggle(patch, hide) {
  if (picture.hidden.has(patch) === hide) return;
  if (hide) picture.hidden.add(patch);
  else picture.hidden.delete(patch);
  remove();
}

/** The patches that speak most for the class and are still there: a twentieth of all. */
function removeStrongest() {
  const values = contributionsTo(picture.answer, picture.target, description.classes.length);
  const there = values.map((_, patch) => patch).filter((patch) => !picture.hidden.has(patch));
  there.sort((a, b) => values[b] - values[a]);
  for (const patch of there.slice(0, Math.ceil(values.length / 20))) picture.hidden.add(patch);
  remove();
}

let asking = false; // one question at a time, always about the newest state

async function remove() {
  show();
  if (asking) return;
  asking = true;
  try {
    let asked = null;
    let about = null;
    const state = () => [...picture.hidden].join();
    while (asked !== state() || about !== picture) {
      [asked, about] = [state(), picture];
      const hidden = [...about.hidden];
      about.now = hidden.length ? await ask("without", { square: about.square, hidden }) : null;
    }
    show();
  } catch (error) {
    complain(error.message);
  } finally {
    asking = false;
  }
}

function askForToken(file) {
  element("access").hidden = false;
  element("token").focus();
  element("access").onsubmit = async (event) => {
    event.preventDefault();
    await ask("token", { token: element("token").value });
    element("access").hidden = true;
    bring(file);
  };
}

function complain(words) {
  element("problem").textContent = words;
  element("problem").hidden = false;
}

element("file").onchange = ({ target }) => {
  if (target.files.length) bring(target.files[0]);
  target.value = ""; // the same file can be chosen again
};
element("target").onchange = ({ target }) => {
  picture.target = Number(target.value);
  show();
};
element("maps").onchange = show;
element("strongest").onclick = removeStrongest;
element("put-back").onclick = () => {
  picture.hidden.clear();
  remove();
};
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  if (event.dataTransfer.files.length) bring(event.dataTransfer.files[0]);
});
wireCamera(bring, complain);
start();
