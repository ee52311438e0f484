// The page: files in, predictions out.

import { decode } from "./decode.js";
import { checkInput, readAbout, readOutputs } from "./model.js";
import { notDone, toInput } from "./pixels.js";
import { at, clearResults, showBatch, showModel, showProblem, showSkipped, tell } from "./show.js";

const ort = globalThis.ort; // by a script of its own: onnxruntime-web starts its worker from that

let model = null; // a promise of { about, session }: pictures may be chosen while it loads
let pictures = []; // { path, file }, by name
let current = 0; // the newest run; an older one stops

at("model").addEventListener("change", () => take([...at("model").files], []));
for (const id of ["pictures", "folder"]) {
  at(id).addEventListener("change", () => {
    take(
      [],
      [...at(id).files].map((file) => ({ path: file.webkitRelativePath || file.name, file })),
    );
  });
}
for (const id of ["size", "order"]) at(id).addEventListener("change", () => take([], []));
at("only").addEventListener("change", () => at("batches").classList.toggle("only-changed", at("only").checked));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, async (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", kind === "dragover");
    if (kind !== "drop") return;
    const files = await dropped(event.dataTransfer);
    const isModel = ({ path }) => path.toLowerCase().endsWith(".onnx");
    const models = files.filter(isModel).map(({ file }) => file);
    take(
      models,
      files.filter((one) => !isModel(one)),
    );
  });
}

if (ort) {
  ort.env.wasm.proxy = true; // in a worker: the page answers while a batch is computed
  tell("Choose a model.");
} else {
  tell("");
  showProblem("onnxruntime-web is not here. Run npm install in the folder of this page.");
}

/** Every file of what was dropped, those in folders as well. */
async function dropped(transfer) {
  const roots = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry);
  return (await Promise.all(roots.map(filesUnder))).flat();
}

async function filesUnder(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ path: entry.fullPath.slice(1), file }];
  }
  const reader = entry.createReader();
  const inside = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at most
    if (some.length === 0) return (await Promise.all(inside.map(filesUnder))).flat();
    inside.push(...some);
  }
}

/** Take a model file, pictures or both, and predict as soon as there are a model and pictures. */
async function take(models, given) {
  if (!ort) return;
  const run = ++current;
  tell("");
  showProblem(null);
  clearResults();
  if (given.length > 0) pictures = given.sort((one, other) => (one.path > other.path) - (one.path < other.path));
  if (models.length > 0) {
    model?.then(({ session }) => session.release()).catch(() => {}); // it may have failed to load
    model = load(models[0]);
  }
  try {
    const loaded = await model;
    if (run !== current) return;
    if (loaded && pictures.length > 0) await predict(loaded, run);
    else tell(loaded ? "Now choose pictures." : "Now choose a model.");
  } catch (error) {
    if (run !== current) return;
    tell("");
    showProblem(error.message);
  }
}

async function load(file) {
  tell(`Loading ${file.name} ...`);
  showModel(null);
  const bytes = new Uint8Array(await file.arrayBuffer());
  try {
    const about = readAbout(bytes);
    const lacking = notDone(about.preprocessing);
    if (lacking) throw new Error(lacking);
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    checkInput(session);
    showModel(about, file);
    return { about, session };
  } catch (error) {
    throw new Error(`${file.name} ${error.message}`);
  }
}

/** Predict all pictures, batch by batch, and show each batch as it is done. */
async function predict({ about, session }, run) {
  const size = batchSize();
  const started = performance.now();
  const skipped = [];
  let [batch, done, count] = [[], 0, 0];
  const finish = async () => {
    const outputs = await session.run({ images: tensor(batch, about.preprocessing.image_size) });
    if (run !== current) return;
    const answers = readOutputs(outputs, about.classes, about.kind);
    showBatch(++count, batch, answers);
    done += batch.length;
    batch = [];
  };
  const order = at("order").value === "shuffle" ? mixed(pictures) : pictures;
  for (const [index, picture] of order.entries()) {
    tell(`Batch ${count + 1} of ${Math.ceil((pictures.length - skipped.length) / size)}, picture ${index + 1} ...`);
    try {
      batch.push({ ...picture, input: toInput(await decode(picture.file, about.preprocessing), about.preprocessing) });
    } catch {
      skipped.push(picture.path);
    }
    if (run === current && batch.length === size) await finish();
    if (run !== current) return;
  }
  if (batch.length > 0) await finish();
  if (run !== current) return;
  showSkipped(skipped);
  if (done === 0) throw new Error("None of these files is a picture that this browser reads.");
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const changed = document.querySelectorAll(".changed").length;
  tell(`${plural(done, "picture")} in ${plural(count, "batch", "es")}, ${changed} changed by adapting. ${seconds} s.`);
}

function batchSize() {
  const size = at("size").valueAsNumber;
  if (!Number.isInteger(size) || size < 1) throw new Error("The number of pictures a batch is a whole one from 1 on.");
  return size;
}

/** The same in another order, which is the same each time. */
function mixed(things) {
  const drawn = [...things];
  let state = 1;
  for (let last = drawn.length - 1; last > 0; last--) {
    state = (state * 48271) % 2147483647;
    const other = state % (last + 1);
    [drawn[last], drawn[other]] = [drawn[other], drawn[last]];
  }
  return drawn;
}

/** The inputs of a batch as one tensor (B, 3, S, S). */
function tensor(batch, size) {
  const values = new Float32Array(batch.length * 3 * size * size);
  batch.forEach(({ input }, index) => values.set(input, index * input.length));
  return new ort.Tensor("float32", values, [batch.length, 3, size, size]);
}

function plural(count, word, ending = "s") {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : ending}`;
}
