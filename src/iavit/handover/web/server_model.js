// The model behind `iavit serve`: the square that it reads is sent, not the photograph.

let token = "";

export async function open(description) {
  return {
    explain: (square) => ask(description, square, { contributions: "true" }),
    without: (square, hidden) => ask(description, square, { contributions: "true", remove: hidden.join(",") }),
    trust: async (square) => (await ask(description, square, { trust: "true" })).trust,
    useToken(given) { token = given; },
  };
}

async function ask({ side }, square, options) {
  const canvas = new OffscreenCanvas(side, side);
  canvas.getContext("2d").putImageData(new ImageData(square, side, side), 0, 0);
  const form = new FormData();
  form.append("files", await canvas.convertToBlob({ type: "image/png" }), "picture.png");
  for (const [name, value] of Object.entries(options)) form.append(name, value);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(new URL("./v1/explain", import.meta.url), { method: "POST", body: form, headers });
  const content = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw Object.assign(new Error(content.detail ?? `the server says ${response.status}`), { status: response.status });
  }
  const [result] = content.results;
  return {
    probabilities: result.probabilities,
    interpreter: result.interpreter_probabilities,
    attention: result.attention.flat(),
    contributions: (result.contributions ?? []).flat(2),
    trust: result.trust,
  };
}
