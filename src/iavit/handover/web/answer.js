// What the model says, in words and in one table.

import { placeOf, signed } from "./patches.js";
import { best, contributionsTo, softmax, sums } from "./trust.js";

const TOP = 5; // classes in the table
const element = (id) => document.getElementById(id);

export const percent = (value) => `${(100 * value).toFixed(1)}\u00a0%`;

/** The verdict, whether the branches agree, and the table, of the whole picture. */
export function showAnswer(answer, now, classes) {
  const [first, second] = [best(answer.probabilities), best(answer.interpreter)];
  const sure = percent(answer.probabilities[first]);
  element("verdict").textContent = `It says: ${classes[first]} (${sure})`;
  const agree = first === second;
  element("agreement").className = agree ? "" : "warning";
  element("agreement").textContent = agree
    ? `The interpreter, the branch that explains, agrees (${percent(answer.interpreter[second])}).`
    : `The two branches disagree: the predictor says ${classes[first]}, the interpreter, which explains, ` +
      `says ${classes[second]} (${percent(answer.interpreter[second])}). Do not rely on this explanation.`;
  table(answer, now, classes);
}

function table(answer, now, classes) {
  const shown = now ?? answer;
  const order = classes.map((_, number) => number);
  order.sort((a, b) => answer.probabilities[b] - answer.probabilities[a]);
  const rows = order.slice(0, TOP);
  if (now && !rows.includes(best(now.probabilities))) rows.push(best(now.probabilities));
  element("classes-caption").textContent = now
    ? "Probabilities with the patches removed; the mark is where each was before"
    : "The most probable classes, by both branches";
  element("classes").tBodies[0].replaceChildren(...rows.map((number) => {
    const row = document.createElement("tr");
    const name = document.createElement("th");
    name.scope = "row";
    name.textContent = classes[number];
    row.append(name);
    for (const branch of ["probabilities", "interpreter"]) {
      const cell = row.insertCell();
      const bar = document.createElement("span");
      bar.className = `bar ${branch === "interpreter" ? "interpreter" : "predictor"}`;
      bar.style.setProperty("--share", shown[branch][number]);
      bar.style.setProperty("--before", answer[branch][number]);
      bar.classList.toggle("changed", Boolean(now));
      cell.append(bar, percent(shown[branch][number]));
    }
    return row;
  }));
}

export function showTrust(found) {
  element("trust").hidden = !found;
  element("trust-words").textContent = found
    ? (found.trust === null ? "No trust in this explanation: the branches disagree. They share "
      : `Trust in this explanation ${found.trust.toFixed(2)} of 1: the branches share `) +
      `${found.answer.toFixed(2)} of their answer, and what the contributions rank first decides it ` +
      `with ${found.faithfulness.toFixed(2)}.`
    : "Trust is being measured …";
  if (found) element("trust").value = found.trust ?? 0;
}

/** How the contributions to the class explained add up. */
export function showBalance(answer, target, { classes, bias }) {
  const values = contributionsTo(answer, target, classes.length);
  const sides = { for: values.filter((value) => value > 0), against: values.filter((value) => value < 0) };
  const total = (list) => list.reduce((sum, value) => sum + value, 0);
  element("balance-heading").textContent = `For and against ${classes[target]}`;
  const lines = [
    [`for, from ${count(sides.for)}`, signed(total(sides.for))],
    [`against, from ${count(sides.against)}`, signed(total(sides.against))],
    ["of no patch", signed(bias[target])],
    ["the interpreter’s score", signed(total(values) + bias[target])],
  ];
  element("balance").replaceChildren(...lines.map(([words, figure]) => {
    const line = document.createElement("div");
    for (const [tag, text] of [["dt", words], ["dd", figure]]) {
      const part = document.createElement(tag);
      part.textContent = text;
      line.append(part);
    }
    return line;
  }));
  const [most, least] = [values.indexOf(Math.max(...values)), values.indexOf(Math.min(...values))];
  element("strongest-words").textContent =
    (values[most] > 0 ? `Most for it: ${placeOf(most)} (${signed(values[most])}). ` : "") +
    (values[least] < 0 ? `Most against it: ${placeOf(least)} (${signed(values[least])}).` : "");
}

const count = (list) => `${list.length} ${list.length === 1 ? "patch" : "patches"}`;

/** What is left of the answer without some patches, and what the contributions said of it. */
export function showWithout(answer, now, hidden, { classes, bias }) {
  if (!now) {
    element("without").textContent = "";
    return;
  }
  const [before, after] = [best(answer.probabilities), best(now.probabilities)];
  const foretold = softmax(sums(answer.contributions, bias, (patch) => !hidden.has(patch)));
  const kept = before === after ? "still says" : "now says";
  element("without").textContent =
    `Without ${hidden.size === 1 ? "this patch" : `these ${hidden.size} patches`} the model ${kept} ` +
    `${classes[after]} (${percent(now.probabilities[after])}); of ${classes[before]} it was ` +
    `${percent(answer.probabilities[before])}, and is ${percent(now.probabilities[before])}. ` +
    `The contributions foretold ${classes[best(foretold)]} (${percent(foretold[best(foretold)])}).`;
}
