// Decodes pictures and asks the model, away from the page, which stays usable meanwhile.

import { fitted } from "./fit.js";

const SHOWN = 1024; // pixels of the longer side of what the page draws

let description, model;

const tasks = {
  /** The model itself; the answer says that it can be asked. */
  async load({ described }) {
    description = described;
    const module = await import(description.runs === "server" ? "./server_model.js" : "./browser_model.js");
    model = await module.open(description);
  },

  /** An image file, upright, to the model's square and a picture to draw. */
  async decode({ file }) {
    let bitmap;
    try {
      // As Pillow reads it: turned as the camera says, colours as they are stored.
      bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
    } catch {
      throw new Error("no image that this browser can read; choose a JPEG, PNG, WebP, AVIF or GIF");
    }
    const { width, height } = bitmap;
    const square = fitted(bitmap, description.side, description.mean);
    const shrunk = Math.min(1, SHOWN / Math.max(width, height));
    const preview = await createImageBitmap(bitmap, {
      resizeWidth: Math.max(1, Math.round(width * shrunk)),
      resizeHeight: Math.max(1, Math.round(height * shrunk)),
      resizeQuality: "high",
    });
    bitmap.close();
    return { square, preview, width, height };
  },

  explain: ({ square }) => model.explain(square),
  without: ({ square, hidden }) => model.without(square, hidden),
  trust: ({ square, answer }) => model.trust(square, answer),
  token({ token }) {
    model.useToken(token);
  },
};

self.onmessage = async ({ data: { number, task, ...given } }) => {
  try {
    self.postMessage({ number, result: await tasks[task](given) });
  } catch (error) {
    self.postMessage({ number, error: { message: error.message, status: error.status } });
  }
};
