// From a picture's pixels to the network's input, as the model's preprocessing says: the arithmetic of Pillow, to the
// pixel. A canvas would resize as well, but each browser in its own way.

const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  hamming: [1, (x) => (Math.abs(x) < 1 ? sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x)) : 0)],
  bicubic: [2, cubic],
  lanczos: [3, (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};
const BITS = 22; // of a weight behind the point
const GREY = [19595, 38470, 7471]; // shares of red, green and blue, of 65536

/** Says what of a model's preprocessing is not done here; null where all of it is. */
export function notDone(how) {
  return how.antialias ? null : "resizes without smoothing (antialias: false), which this example does not do";
}

/**
 * The network's input for one picture.
 *
 * @param {{width: number, height: number, data: Uint8Array|Uint8ClampedArray}} picture red, green, blue, alpha a pixel
 * @param how the model's preprocessing
 * @returns {Float32Array} (3, S, S)
 */
export function toInput(picture, how) {
  const { data } = resized(picture, how);
  const area = how.image_size ** 2;
  const input = new Float32Array(3 * area);
  const order = how.channels === "bgr" ? [2, 1, 0] : [0, 1, 2];
  order.forEach((channel, plane) => {
    const value = values(how.mean[plane], how.std[plane]);
    for (let pixel = 0; pixel < area; pixel++) {
      const at = 4 * pixel;
      input[plane * area + pixel] = value[how.channels === "grey" ? grey(data, at) : data[at + channel]];
    }
  });
  return input;
}

/** The input that each of 256 levels becomes, in steps of float32 as gformer takes them. */
function values(mean, std) {
  const [low, spread] = [Math.fround(mean), Math.fround(std)];
  return Float32Array.from({ length: 256 }, (_, level) => Math.fround(Math.fround(level / 255) - low) / spread);
}

function grey(data, at) {
  return (GREY[0] * data[at] + GREY[1] * data[at + 1] + GREY[2] * data[at + 2] + 0x8000) >> 16;
}

function resized(picture, how) {
  const { width, height } = picture;
  const size = how.image_size;
  const side = how.resize_size ?? size;
  if (how.resize === "stretch") return centre(scaled(picture, side, side, how), how);
  if (how.resize === "pad") {
    const ratio = Math.max(width, height) / side;
    return centre(scaled(picture, Math.max(1, even(width / ratio)), Math.max(1, even(height / ratio)), how), how);
  }
  const shorter = Math.min(width, height);
  if (how.resize_size !== null) {
    const longer = Math.trunc((side * Math.max(width, height)) / shorter);
    return centre(scaled(picture, ...(width <= height ? [side, longer] : [longer, side]), how), how);
  }
  const [left, top] = [(width - shorter) / 2, (height - shorter) / 2];
  return scaled(picture, size, size, how, [left, top, left + shorter, top + shorter]);
}

/** The box of a picture (left, top, right, bottom; all of it without one) at another size: across, then down. */
function scaled(picture, width, height, how, box = [0, 0, picture.width, picture.height]) {
  const across = weights(picture.width, box[0], box[2], width, how.interpolation);
  const down = weights(picture.height, box[1], box[3], height, how.interpolation);
  const rows = { width, height: picture.height, data: new Uint8ClampedArray(4 * width * picture.height) };
  for (let y = 0; y < rows.height; y++) {
    for (let x = 0; x < width; x++)
      mix(rows.data, 4 * (y * width + x), picture.data, 4 * y * picture.width, 4, across[x]);
  }
  const made = { width, height, data: new Uint8ClampedArray(4 * width * height) };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) mix(made.data, 4 * (y * width + x), rows.data, 4 * x, 4 * width, down[y]);
  }
  return made;
}

/** One pixel of the sum of others, which lie `step` apart. */
function mix(into, at, from, start, step, { first, shares }) {
  for (let channel = 0; channel < 3; channel++) {
    let sum = 1 << (BITS - 1);
    let place = start + step * first + channel;
    for (let index = 0; index < shares.length; index++, place += step) sum += from[place] * shares[index];
    into[at + channel] = sum >> BITS; // clamped by the array
  }
}

/** For each new pixel the first old one that it is made of, and the shares of this and the next ones. */
function weights(length, from, to, count, interpolation) {
  const scale = (to - from) / count;
  let nearest = from + 0.5 * scale; // a sum, as in Pillow: its rounding decides between two pixels
  return Array.from({ length: count }, (_, place) => {
    if (interpolation === "nearest") {
      const first = Math.min(length - 1, Math.floor(nearest));
      nearest += scale;
      return { first, shares: Int32Array.of(1 << BITS) };
    }
    const middle = from + (place + 0.5) * scale;
    const [reach, filter] = FILTERS[interpolation];
    const wide = Math.max(1, scale);
    const first = Math.max(0, Math.trunc(middle - reach * wide + 0.5));
    const last = Math.min(length, Math.trunc(middle + reach * wide + 0.5));
    const raw = Array.from({ length: last - first }, (_, index) => filter((index + first - middle + 0.5) / wide));
    const sum = raw.reduce((total, one) => total + one, 0);
    const shares = raw.map((one) => (one / sum) * (1 << BITS)).map((one) => Math.trunc(one + (one < 0 ? -0.5 : 0.5)));
    return { first, shares: Int32Array.from(shares) };
  });
}

/** The middle of a picture; where it is smaller, it lies in the middle of `fill`. */
function centre(picture, how) {
  const size = how.image_size;
  const made = { width: size, height: size, data: new Uint8ClampedArray(4 * size * size) };
  const half = how.centre_rounding === "down" ? Math.floor : even;
  const [left, top] = [picture.width, picture.height].map((length) =>
    length < size ? -Math.floor((size - length) / 2) : half((length - size) / 2),
  );
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const [column, row] = [x + left, y + top];
      const inside = column >= 0 && row >= 0 && column < picture.width && row < picture.height;
      const at = 4 * (row * picture.width + column);
      made.data.set(inside ? picture.data.subarray(at, at + 3) : how.fill, 4 * (y * size + x));
    }
  }
  return made;
}

/** The nearest whole number, of two equally near ones the even one. */
function even(value) {
  const down = Math.floor(value);
  return value - down === 0.5 ? down + (down % 2) : Math.round(value);
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function cubic(x) {
  const [a, far] = [-0.5, Math.abs(x)];
  if (far < 1) return ((a + 2) * far - (a + 3)) * far * far + 1;
  return far < 2 ? (((far - 5) * far + 8) * far - 4) * a : 0;
}
