// The model in the browser: its ONNX graph, run by onnxruntime-web.

import * as ort from "./ort.wasm.bundle.min.mjs";
import { best, contributionsTo, patchCounts, ranked, shared } from "./trust.js";

ort.env.wasm.wasmPaths = { wasm: new URL("./ort-wasm-simd-threaded.wasm", import.meta.url).href };
ort.env.wasm.numThreads = 1; // more need headers that not every static server sends

export async function open(description) {
  const graph = await fetch(new URL("./model.onnx", import.meta.url));
  if (!graph.ok) throw new Error(`model.onnx cannot be fetched (${graph.status}); copy the whole folder`);
  const session = await ort.InferenceSession.create(new Uint8Array(await graph.arrayBuffer()), {
    executionProviders: ["wasm"],
  });
  const ask = (square, hidden) => run(session, description, square, hidden);
  await ask(new Uint8ClampedArray(4 * description.side ** 2), [[]]); // the first run is the slowest
  return {
    explain: async (square) => (await ask(square, [[]]))[0],
    without: async (square, hidden) => (await ask(square, [hidden]))[0],
    trust: (square, answer) => trust(ask, description, square, answer),
  };
}

/** What the graph says of copies of a square, each with the patches of some numbers hidden. */
async function run(session, description, square, hidden) {
  const { side, grid, classes } = description;
  const [count, patches] = [hidden.length, grid[0] * grid[1]];
  const images = new Float32Array(count * 3 * side * side);
  const whole = normalised(square, description);
  hidden.forEach((numbers, copy) => {
    images.set(whole, copy * whole.length);
    for (const number of numbers) blank(images, copy, number, description);
  });
  const feeds = { images: new ort.Tensor("float32", images, [count, 3, side, side]) };
  const outputs = await session.run(feeds);
  const copyOf = (name, copy, length) => outputs[name].data.slice(copy * length, (copy + 1) * length);
  return hidden.map((_, copy) => ({
    probabilities: copyOf("probabilities", copy, classes.length),
    interpreter: copyOf("interpreter_probabilities", copy, classes.length),
    attention: copyOf("attention", copy, patches),
    contributions: copyOf("contributions", copy, patches * classes.length),
  }));
}

/** RGBA bytes to (3, side, side) float32, in the model's units. */
function normalised(square, { side, mean, std }) {
  const area = side * side;
  const values = new Float32Array(3 * area);
  for (let channel = 0; channel < 3; channel++) {
    for (let at = 0; at < area; at++) {
      values[channel * area + at] = (square[4 * at + channel] / 255 - mean[channel]) / std[channel];
    }
  }
  return values;
}

/** A patch of one copy to 0, the mean colour. */
function blank(images, copy, number, { side, grid }) {
  const [tall, wide] = [side / grid[0], side / grid[1]];
  const [top, left] = [Math.floor(number / grid[1]) * tall, (number % grid[1]) * wide];
  for (let channel = 0; channel < 3; channel++) {
    for (let row = top; row < top + tall; row++) {
      const start = ((copy * 3 + channel) * side + row) * side + left;
      images.fill(0, start, start + wide);
    }
  }
}

/** `iavit.evaluate.trust` of one picture. */
async function trust(ask, { classes, fractions }, square, answer) {
  const [chosen, other] = [best(answer.probabilities), best(answer.interpreter)];
  const order = ranked(contributionsTo(answer, chosen, classes.length));
  let gaps = 0;
  for (const count of patchCounts(fractions, order.length)) { // all at once need the memory of all
    const [shown] = await ask(square, [order.slice(count)]);
    const [hidden] = await ask(square, [order.slice(0, count)]);
    gaps += shown.probabilities[chosen] - hidden.probabilities[chosen];
  }
  const share = shared(answer.probabilities, answer.interpreter);
  const faithfulness = Math.max(0, gaps / fractions.length);
  return { trust: chosen === other ? share * faithfulness : null, answer: share, faithfulness };
}
