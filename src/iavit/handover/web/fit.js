// A picture of any shape as the square that the model reads, as the library makes it
// (iavit.handover.fit): the longer side fills it, the rest is a border of the mean colour.
// Resampling is Pillow's bicubic to the bit, so that a page and a program give the same answer; of
// pictures more than twice as tall as wide, whose columns Pillow resamples first, within 1 of 255.

const PRECISION = 22; // bits behind the point of Pillow's weights for 8-bit pixels
const STRIP = 256; // rows decoded at a time: some browsers refuse a canvas of a whole photograph

/** Where a picture lies in its square of `side` pixels. */
export function frameOf(width, height, side) {
  const longer = Math.max(width, height);
  const scaled = (length) => Math.max(1, roundHalfEven((length * side) / longer));
  const [wide, tall] = [scaled(width), scaled(height)];
  return { left: Math.floor((side - wide) / 2), top: Math.floor((side - tall) / 2), width: wide, height: tall };
}

/** An ImageBitmap in the middle of a square of `side` pixels: RGBA bytes, side * side * 4. */
export function fitted(bitmap, side, mean) {
  const frame = frameOf(bitmap.width, bitmap.height, side);
  const pixels = resized(bitmap, frame.width, frame.height);
  const square = new Uint8ClampedArray(side * side * 4);
  const border = mean.map((value) => roundHalfEven(255 * value));
  for (let at = 0; at < square.length; at += 4) square.set([...border, 255], at);
  for (let row = 0; row < frame.height; row++) {
    const line = pixels.subarray(row * frame.width * 4, (row + 1) * frame.width * 4);
    square.set(line, ((frame.top + row) * side + frame.left) * 4);
  }
  return square;
}

/** Rows of a bitmap over white, a strip at a time, then both passes of the resampling. */
function resized(bitmap, width, height) {
  const narrow = new Uint8ClampedArray(width * bitmap.height * 4).fill(255);
  const across = weights(bitmap.width, width);
  for (let top = 0; top < bitmap.height; top += STRIP) {
    const rows = Math.min(STRIP, bitmap.height - top);
    const canvas = new OffscreenCanvas(bitmap.width, rows);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white";
    context.fillRect(0, 0, bitmap.width, rows);
    context.drawImage(bitmap, 0, -top);
    const strip = context.getImageData(0, 0, bitmap.width, rows).data;
    for (let row = 0; row < rows; row++) {
      const line = strip.subarray(row * bitmap.width * 4, (row + 1) * bitmap.width * 4);
      resample(line, 4, narrow, (top + row) * width * 4, 4, across);
    }
  }
  const result = new Uint8ClampedArray(width * height * 4).fill(255);
  const down = weights(bitmap.height, height);
  for (let column = 0; column < width; column++) {
    resample(narrow.subarray(column * 4), width * 4, result, column * 4, width * 4, down);
  }
  return result;
}

/** One line of pixels: `from` every `step` bytes, to `to` from `start` on, every `stride` bytes. */
function resample(from, step, to, start, stride, { bounds, values, size }) {
  const half = 1 << (PRECISION - 1);
  for (let out = 0; out < bounds.length / 2; out++) {
    let red = half, green = half, blue = half;
    const first = bounds[2 * out], count = bounds[2 * out + 1];
    for (let tap = 0; tap < count; tap++) {
      const weight = values[out * size + tap];
      const at = (first + tap) * step;
      red += from[at] * weight;
      green += from[at + 1] * weight;
      blue += from[at + 2] * weight;
    }
    const at = start + out * stride;
    to[at] = red >> PRECISION; // the array clamps to 0 to 255
    to[at + 1] = green >> PRECISION;
    to[at + 2] = blue >> PRECISION;
  }
}

/** Pillow's fixed-point weights for a line of `length` pixels brought to `count`. */
function weights(length, count) {
  if (length === count) { // Pillow leaves such a line as it is
    const bounds = Int32Array.from({ length: 2 * count }, (_, at) => (at % 2 ? 1 : at / 2));
    return { bounds, values: new Int32Array(count).fill(1 << PRECISION), size: 1 };
  }
  const scale = length / count;
  const stretch = Math.max(scale, 1);
  const support = 2 * stretch;
  const size = Math.ceil(support) * 2 + 1;
  const bounds = new Int32Array(2 * count);
  const values = new Int32Array(size * count);
  for (let out = 0; out < count; out++) {
    const centre = (out + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const taps = Math.min(length, Math.trunc(centre + support + 0.5)) - first;
    const line = Array.from({ length: taps }, (_, tap) => bicubic((tap + first - centre + 0.5) / stretch));
    const total = line.reduce((sum, value) => sum + value, 0);
    bounds.set([first, taps], 2 * out);
    line.forEach((value, tap) => {
      const fixed = (value / total) * (1 << PRECISION);
      values[out * size + tap] = Math.trunc(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    });
  }
  return { bounds, values, size };
}

function bicubic(x) {
  const a = -0.5, far = Math.abs(x);
  if (far < 1) return ((a + 2) * far - (a + 3)) * far * far + 1;
  return far < 2 ? (((far - 5) * far + 8) * far - 4) * a : 0;
}

/** As Python rounds: halves to the even number. */
export function roundHalfEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}
