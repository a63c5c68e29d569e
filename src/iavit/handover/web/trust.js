// Sums of contributions, and how far two answers go together (iavit.evaluate.trust).

import { roundHalfEven } from "./fit.js";

/** The interpreter's logits from the contributions (N * C) of some patches alone. */
export function sums(contributions, bias, counts) {
  const logits = Float64Array.from(bias);
  for (let patch = 0; patch * bias.length < contributions.length; patch++) {
    if (!counts(patch)) continue;
    bias.forEach((_, number) => { logits[number] += contributions[patch * bias.length + number]; });
  }
  return logits;
}

export function softmax(logits) {
  const most = Math.max(...logits);
  const powers = logits.map((value) => Math.exp(value - most));
  const total = powers.reduce((sum, value) => sum + value, 0);
  return powers.map((value) => value / total);
}

/** How many patches are shown and hidden, of so many. */
export function patchCounts(fractions, patches) {
  return fractions.map((fraction) => Math.max(1, roundHalfEven(fraction * patches)));
}

/** One minus the total variation distance of two answers. */
export function shared(first, second) {
  return 1 - first.reduce((sum, value, at) => sum + Math.abs(value - second[at]), 0) / 2;
}

/** The patches' numbers, those with the highest values first. */
export function ranked(values) {
  return Array.from(values, (_, number) => number).sort((a, b) => values[b] - values[a]);
}

/** The number of the highest value. */
export const best = (values) => values.indexOf(Math.max(...values));

/** The contributions of each patch to one class, (N). */
export function contributionsTo(answer, target, classes) {
  const patches = answer.contributions.length / classes;
  return Array.from({ length: patches }, (_, patch) => answer.contributions[patch * classes + target]);
}
