// The picture as the model is given it, and a map over it.

import { frameOf, roundHalfEven } from "./fit.js";

const DRAWN = 720; // pixels a side of the canvas
const SMALL = 64; // a model's square below this is drawn pixel by pixel
const STRONGEST = 0.75; // opacity of a map's maximum

// matplotlib's RdBu_r without its pale middle, and inferno: both can be told apart by the
// colour-blind, and their strength in grey too.
const FOR = ["#e48066", "#d6604d", "#c43b3c", "#b1182b", "#8a0b25"];
const AGAINST = ["#6bacd1", "#4393c3", "#327cb7", "#2065ab", "#124984"];
const ATTENTION = ["#000004", "#210c4a", "#57106e", "#8a226a", "#bc3754", "#e45a31", "#f98e09", "#f9cb35", "#fcffa4"];

/** The picture in its square, in grey under a map. */
export function drawPicture(canvas, preview, { side, mean }, grey) {
  canvas.width = canvas.height = DRAWN;
  const context = canvas.getContext("2d");
  const frame = frameOf(preview.width, preview.height, DRAWN);
  context.fillStyle = `rgb(${mean.map((value) => roundHalfEven(255 * value)).join(" ")})`;
  context.fillRect(0, 0, DRAWN, DRAWN);
  context.imageSmoothingEnabled = side >= SMALL;
  context.imageSmoothingQuality = "high";
  context.filter = grey ? "grayscale(1)" : "none";
  context.drawImage(preview, frame.left, frame.top, frame.width, frame.height);
}

/** A map's patches (N) in colour, and those that are hidden as the model sees them. */
export function drawMap(canvas, values, signed, hidden, { grid, mean }) {
  canvas.width = canvas.height = DRAWN;
  const context = canvas.getContext("2d");
  const strengths = values ? strengthsOf(values, signed) : null;
  for (let patch = 0; patch < grid[0] * grid[1]; patch++) {
    const [row, column] = [Math.floor(patch / grid[1]), patch % grid[1]];
    const [top, left] = [Math.round((row * DRAWN) / grid[0]), Math.round((column * DRAWN) / grid[1])];
    const bottom = Math.round(((row + 1) * DRAWN) / grid[0]), right = Math.round(((column + 1) * DRAWN) / grid[1]);
    const place = [left, top, right - left, bottom - top];
    if (hidden.has(patch)) {
      context.globalAlpha = 1;
      context.fillStyle = `rgb(${mean.map((value) => roundHalfEven(255 * value)).join(" ")})`;
      context.fillRect(...place);
      cross(context, ...place);
    } else if (strengths) {
      context.globalAlpha = STRONGEST * Math.abs(strengths[patch]) ** 0.8;
      context.fillStyle = colour(strengths[patch], signed);
      context.fillRect(...place);
    }
  }
  context.globalAlpha = 1;
}

/** The legend's strip, as a background of the style sheet's own kind. */
export function legend(signed) {
  const colours = signed ? [...AGAINST.toReversed(), "transparent", ...FOR] : ["transparent", ...ATTENTION.slice(2)];
  return `linear-gradient(to right, ${colours.join(", ")})`;
}

/** Values to -1 to 1, 0 in its place, or of an unsigned map to 0 to 1. */
function strengthsOf(values, signed) {
  const low = signed ? 0 : Math.min(...values);
  const span = Math.max(...values.map((value) => Math.abs(value - low))) || 1;
  return values.map((value) => (value - low) / span);
}

function colour(strength, signed) {
  const scale = signed ? (strength < 0 ? AGAINST : FOR) : ATTENTION;
  return scale[Math.round(Math.abs(strength) * (scale.length - 1))];
}

function cross(context, left, top, width, height) {
  context.strokeStyle = "rgb(255 255 255 / 60%)";
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(left + width * 0.3, top + height * 0.3);
  context.lineTo(left + width * 0.7, top + height * 0.7);
  context.moveTo(left + width * 0.7, top + height * 0.3);
  context.lineTo(left + width * 0.3, top + height * 0.7);
  context.stroke();
}
