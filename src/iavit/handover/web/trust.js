// Sums of contributions, and how far two answers go together (iavit.evaluate.trust).

const FLAT = 1e-5; // scores that differ by less are the same but for rounding

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

/** One minus the total variation distance of two answers. */
export function shared(first, second) {
  return 1 - first.reduce((sum, value, at) => sum + Math.abs(value - second[at]), 0) / 2;
}

/** The correlation of two lists, 0 where it is negative or either list is flat. */
export function follows(first, second) {
  const centred = (values) => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return values.map((value) => value - mean);
  };
  const [a, b] = [centred(first), centred(second)];
  if ([a, b].some((values) => Math.max(...values.map(Math.abs)) < FLAT)) return 0;
  const dot = (x, y) => x.reduce((sum, value, at) => sum + value * y[at], 0);
  return Math.min(1, Math.max(0, dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))));
}
