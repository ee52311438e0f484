// Predictions of a model that `gformer export` wrote, in Node.js: all files together are one batch.
//
//   npm install
//   node predict.mjs site.onnx a.png b.png     PNG pictures of any size
//   node predict.mjs site.onnx images.f32      float32 (B, 3, S, S), prepared as the model's preprocessing says
//   node predict.mjs --json site.onnx ...      every output of the model

import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { PNG } from "pngjs";
import { checkInput, readAbout, readOutputs } from "../browser/model.js";
import { notDone, toInput } from "../browser/pixels.js";

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(`predict.mjs: ${error.message}`);
  process.exitCode = 1;
}

async function main(words) {
  const json = words[0] === "--json";
  const [path, ...files] = json ? words.slice(1) : words;
  if (files.length === 0) throw new Error("usage: node predict.mjs [--json] MODEL.onnx FILE.png|FILE.f32 ...");
  const content = readFileSync(path);
  const about = naming(path, () => readAbout(content));
  const session = await InferenceSession.create(content);
  naming(path, () => checkInput(session));
  const size = about.preprocessing.image_size;
  const contents = files.map((file) => readFileSync(file));
  const inputs = files.map((file, index) => naming(file, () => inputOf(file, contents[index], about.preprocessing)));
  const values = concatenated(inputs);
  const images = new Tensor("float32", values, [values.length / (3 * size * size), 3, size, size]);
  const outputs = await session.run({ images });
  if (json) print(outputs);
  else printLabels(readOutputs(outputs, about.classes, about.kind));
}

/** The input for all images of one file. */
function inputOf(file, content, how) {
  if (!file.toLowerCase().endsWith(".png")) {
    const step = 4 * 3 * how.image_size ** 2;
    if (content.length === 0 || content.length % step) {
      throw new Error(
        `holds ${content.length} bytes, no multiple of ${step}: float32 (B, 3, S, S), S = ${how.image_size}`,
      );
    }
    return new Float32Array(new Uint8Array(content).buffer); // a copy, for float32 starts at a multiple of 4
  }
  const lacking = notDone(how);
  if (lacking) throw new Error(`cannot be prepared: the model ${lacking}`);
  return toInput(decode(content), how);
}

function decode(content) {
  try {
    return onWhite(PNG.sync.read(content));
  } catch (error) {
    throw new Error(`is no PNG picture: ${error.message}`);
  }
}

/** Transparent parts as white. */
function onWhite({ width, height, data }) {
  for (let at = 0; at < data.length; at += 4) {
    for (let channel = at; channel < at + 3; channel++) {
      data[channel] = Math.round(255 + ((data[channel] - 255) * data[at + 3]) / 255);
    }
  }
  return { width, height, data };
}

function concatenated(parts) {
  const all = new Float32Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function print(outputs) {
  const plain = Object.entries(outputs).map(([name, { dims, data }]) => [
    name,
    { dims, data: Array.from(data, Number) },
  ]);
  console.log(JSON.stringify(Object.fromEntries(plain)));
}

function printLabels({ pictures, decision }) {
  if (decision) console.log(`guard: ${decision}`);
  const said = ([who, one]) => (one ? [`${who} ${one.label} (${one.confidence.toFixed(4)})`] : []);
  pictures.forEach((answers, index) => console.log(`${index}: ${Object.entries(answers).flatMap(said).join(", ")}`));
}

/** What `work` gives; its errors name the file. */
function naming(file, work) {
  try {
    return work();
  } catch (error) {
    throw new Error(`${file} ${error.message}`);
  }
}
