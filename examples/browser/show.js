// What the page shows.

export const at = (id) => document.getElementById(id);
const GUARD = {
  generated: () => "the guard lets the generated parameters predict",
  blended: (share) => `the guard lets ${percent(share)} of what was generated predict`,
  source: () => "the guard leaves it to the source model",
};
let counts = new Map(); // label: how often the source model and the adapted one say it

export function tell(text) {
  at("status").textContent = text;
}

export function showProblem(text) {
  at("problem").textContent = text ?? "";
  at("problem").hidden = text === null;
}

/** Files that are no pictures. */
export function showSkipped(paths) {
  at("skipped").hidden = paths.length === 0;
  at("skipped").querySelector("summary").textContent = `Left out, no pictures that this browser reads: ${paths.length}`;
  at("skipped")
    .querySelector("ul")
    .replaceChildren(...paths.map((path) => make("li", "", path)));
}

export function showModel(about, file) {
  at("about").hidden = about === null;
  if (about === null) return;
  const how = about.preprocessing;
  const facts = {
    Network: `${about.network}, ${(file.size / 1e6).toFixed(1)} MB`,
    Kind: about.kind,
    Classes: `${about.classes.length}: ${about.classes.slice(0, 8).join(", ")}${about.classes.length > 8 ? ", ..." : ""}`,
    Input: `${how.image_size} x ${how.image_size}, ${how.resize}, ${how.interpolation}`,
  };
  const parts = Object.entries(facts).flatMap(([term, fact]) => [make("dt", "", term), make("dd", "", fact)]);
  at("about").replaceChildren(...parts);
}

export function clearResults() {
  for (const image of at("batches").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  counts = new Map();
  at("batches").replaceChildren();
  at("results").hidden = true;
  at("skipped").hidden = true;
}

/** One batch with the answers of `readOutputs`. */
export function showBatch(number, batch, { pictures, decision, share }) {
  const title = make("h3", "", `Batch ${number}`);
  const guard = decision === null ? [] : [`${decision}: ${GUARD[decision](share)}`];
  const told = make("p", "", [`${batch.length} picture${batch.length === 1 ? "" : "s"}`, ...guard].join("; "));
  const list = make("ol", "pictures");
  list.append(...batch.map((picture, index) => card(picture, pictures[index])));
  const head = make("header");
  head.append(title, told);
  const section = make("section", "batch");
  if (decision !== null) section.dataset.decision = decision;
  section.append(head, list);
  at("batches").append(section);
  showCounts(pictures);
  at("results").hidden = false;
}

function card({ path, file }, { source, adapted }) {
  const changed = source !== null && adapted !== null && source.label !== adapted.label;
  const image = make("img");
  image.alt = "";
  image.src = URL.createObjectURL(file);
  const name = make("div", "name");
  if (changed) name.append(make("strong", "", "changed"), " ");
  name.append(path);
  name.title = path;
  const answers = make("dl", "answers");
  if (source !== null) answers.append(...answer("source", source));
  if (adapted !== null) answers.append(...answer("adapted", adapted));
  const item = make("li", changed ? "picture changed" : "picture");
  item.append(image, name, answers);
  return item;
}

function answer(who, { label, confidence }) {
  const said = make("dd", `label ${who}`, label);
  const bar = make("span", "bar");
  bar.style.width = percent(confidence);
  said.append(bar);
  return [make("dt", "", who), said, make("dd", "percent", percent(confidence))];
}

function showCounts(pictures) {
  for (const { source, adapted } of pictures) {
    for (const [column, said] of [source, adapted].entries()) {
      if (said === null) continue;
      if (!counts.has(said.label)) counts.set(said.label, [0, 0]);
      counts.get(said.label)[column] += 1;
    }
  }
  const [first] = pictures;
  const rows = [...counts].sort().map(([label, [source, adapted]]) => {
    const row = make("tr");
    const head = make("th", "", label);
    head.scope = "row";
    row.append(head, make("td", "", first.source ? source : "-"), make("td", "", first.adapted ? adapted : "-"));
    return row;
  });
  at("counts").tBodies[0].replaceChildren(...rows);
}

function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

function make(tag, className = "", text = null) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== null) element.textContent = text;
  return element;
}
