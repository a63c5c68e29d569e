// Questions to the worker, each with its answer as a promise.

const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
const waiting = new Map();
let count = 0;

worker.onmessage = ({ data: { number, result, error } }) => {
  const { resolve, reject } = waiting.get(number);
  waiting.delete(number);
  if (error) reject(Object.assign(new Error(error.message), { status: error.status }));
  else resolve(result);
};

worker.onerror = (event) => {
  for (const { reject } of waiting.values()) {
    reject(new Error(event.message || "this browser cannot run the page's worker; take a newer one"));
  }
  waiting.clear();
};

export function ask(task, given = {}) {
  const number = count++;
  return new Promise((resolve, reject) => {
    waiting.set(number, { resolve, reject });
    worker.postMessage({ number, task, ...given });
  });
}
