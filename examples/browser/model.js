// What stands in a file of `gformer export`, and what its outputs say. For browsers and for Node.js.

const METADATA = 14; // the field of ONNX's ModelProto with keys and values
const DECISIONS = ["generated", "blended", "source"];

/**
 * Classes, preprocessing, kind and more of an exported file.
 *
 * onnxruntime does not show a file's metadata to JavaScript. They are read from the file itself: its fields have a
 * number and a length each, so the graph is stepped over. A second file beside the model could be the wrong one.
 *
 * @param {Uint8Array} bytes the whole file
 * @throws {Error} for what is no such file
 */
export function readAbout(bytes) {
  let found;
  try {
    found = readMetadata(bytes);
  } catch {
    throw new Error("is no ONNX file, or damaged. Give one that gformer export wrote.");
  }
  if (!found.classes || !found.preprocessing) {
    throw new Error("is an ONNX file without gformer's metadata. Give one that gformer export wrote.");
  }
  return { ...found, classes: JSON.parse(found.classes), preprocessing: JSON.parse(found.preprocessing) };
}

/** @throws {Error} for a file whose graph resizes: pictures are prepared here */
export function checkInput(session) {
  const { type } = session.inputMetadata[0];
  if (type !== "float32") throw new Error(`takes ${type} images, not float32. Export it without --with-preprocessing.`);
}

function readMetadata(bytes) {
  if (bytes.length === 0) throw new Error("empty");
  const found = {};
  for (const [number, value] of fields(bytes)) {
    if (number !== METADATA) continue;
    const entry = { 1: "", 2: "" };
    for (const [part, text] of fields(value)) entry[part] = new TextDecoder("utf-8", { fatal: true }).decode(text);
    found[entry[1]] = entry[2];
  }
  return found;
}

/** Number and content of each field of a message; those that are plain numbers are left out. */
function* fields(bytes) {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let place = 0; place < 10; place++) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error("cut off");
      value += (byte & 127) * 2 ** (7 * place); // seven bits a byte, the lowest first
      if (byte < 128) return value;
    }
    throw new Error("a number without an end");
  };
  while (at < bytes.length) {
    const key = number();
    const kind = key % 8;
    const value = number(); // of kind 2: the length of what follows
    if (kind === 0) continue;
    if (kind !== 2 || value > bytes.length - at) throw new Error("no field of ONNX");
    yield [Math.floor(key / 8), bytes.subarray(at, at + value)];
    at += value;
  }
}

/**
 * What the outputs of one batch say.
 *
 * @param outputs by name, as `session.run` gives them
 * @param {string[]} classes
 * @returns {{pictures: {source, adapted}[], decision, share}} For each picture the label and confidence of the source
 *   model and of the adapted one; null where the file has none. `decision` of the guard, null where there is none.
 */
export function readOutputs(outputs, classes, kind) {
  const adapted = best(outputs.logits, classes);
  const source = kind === "source" ? adapted : outputs.source_logits && best(outputs.source_logits, classes);
  return {
    pictures: adapted.map((one, index) => ({
      source: source ? source[index] : null,
      adapted: kind === "source" ? null : one,
    })),
    decision: outputs.decision ? DECISIONS[Number(outputs.decision.data[0])] : null,
    share: outputs.share ? outputs.share.data[0] : null,
  };
}

/** Label and confidence in each row of logits (B, K). */
function best(logits, classes) {
  const [count, width] = logits.dims;
  return Array.from({ length: count }, (_, row) => {
    const values = logits.data.subarray(row * width, (row + 1) * width);
    const highest = Math.max(...values);
    const sum = values.reduce((total, value) => total + Math.exp(value - highest), 0);
    return { label: classes[values.indexOf(highest)], confidence: 1 / sum };
  });
}
