// The view "Documents": upload with progress, files with their state, new memories.
import { call, upload } from "./api.js";
import { el, fault, field, say, shown, sure } from "./dom.js";
import { bytes, percent, t } from "./strings.js";

const LOOK_MILLISECONDS = 700; // between two looks at a file's state

export async function show(main, app) {
  if (!app.settings.files) {
    main.replaceChildren(el("div", { class: "page" }, el("h1", {}, t("documentsTitle")), el("p", { class: "lead" }, t("noUploads"))));
    return;
  }
  const progress = el("ul", { class: "progress" });
  const files = el("section", { "aria-label": t("filesOf", app.name) });
  const input = el("input", { id: "files", type: "file", multiple: true });
  const drop = el("label", { class: "drop", for: "files" }, el("span", {}, t("chooseFiles")), input);
  const name = el("input", { id: "store-name", required: true, maxlength: "200" });
  const form = el("form", { class: "line" }, field(t("newStoreName"), name), el("button", { type: "submit" }, t("create")));
  const faults = el("div", {});
  const into = app.current ? [el("h2", {}, t("uploadTo", app.name)), drop, progress, files] : el("p", { class: "lead" }, t("noMemory"));
  main.replaceChildren(el("div", { class: "page" }, el("h1", {}, t("documentsTitle")), into, el("h2", {}, t("newStore")), form, faults));
  const take = (list) => [...list].forEach((file) => send(file, progress, files, app));
  input.onchange = () => {
    take(input.files);
    input.value = "";
  };
  drop.ondragover = (event) => event.preventDefault();
  drop.ondrop = (event) => {
    event.preventDefault();
    take(event.dataTransfer.files);
  };
  form.onsubmit = async (event) => {
    event.preventDefault();
    try {
      const store = await call("v1/vector_stores", { method: "POST", json: { name: name.value.trim() } });
      await app.load();
      app.choose(store.id);
    } catch (error) {
      faults.replaceChildren(fault(error));
    }
  };
  if (app.current) await list(files, app);
}

async function send(file, progress, files, app) {
  const bar = el("progress", { max: "1", value: "0", "aria-label": file.name });
  const state = el("span", { class: "note" }, t("uploading", percent(0)));
  const item = el("li", {}, el("span", {}, shown(file.name)), bar, state);
  progress.append(item);
  const store = `v1/vector_stores/${encodeURIComponent(app.current)}/files`;
  try {
    if (file.size > app.settings.max_upload_bytes) throw new Error(t("tooLarge", bytes(app.settings.max_upload_bytes)));
    const kept = await upload(file, (part) => {
      bar.value = part;
      state.textContent = t("uploading", percent(part));
    });
    bar.removeAttribute("value");
    state.textContent = t("indexing");
    let found = await call(store, { method: "POST", json: { file_id: kept.id }, signal: app.leaving });
    while (found.status === "in_progress") {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MILLISECONDS));
      found = await call(`${store}/${kept.id}`, { signal: app.leaving });
    }
    if (found.status !== "completed") throw new Error(found.last_error?.message ?? t(found.status));
    bar.value = 1;
    state.textContent = t("completed");
    item.classList.add("done");
    say(t("uploaded", file.name));
  } catch (error) {
    bar.remove();
    if (error.name !== "AbortError") state.replaceWith(fault(error));
  }
  if (!app.leaving.aborted) await list(files, app);
}

async function list(place, app) {
  const store = `v1/vector_stores/${encodeURIComponent(app.current)}/files`;
  try {
    const [held, all] = await Promise.all([call(`${store}?limit=1000`, { signal: app.leaving }), call("v1/files", { signal: app.leaving })]);
    const known = new Map(all.data.map((file) => [file.id, file]));
    const rows = held.data.map((file) => {
      const name = known.get(file.id)?.filename ?? file.id;
      const remove = async () => {
        if (!(await sure(t("sureFile", shown(name)), t("remove")))) return;
        try {
          await call(`${store}/${file.id}`, { method: "DELETE" });
          await list(place, app);
        } catch (error) {
          place.append(fault(error));
        }
      };
      const size = known.has(file.id) ? bytes(known.get(file.id).bytes) : "";
      return el("tr", {}, el("th", { scope: "row", dir: "auto" }, shown(name)), el("td", {}, size),
        el("td", {}, t(file.status), file.last_error ? el("small", {}, shown(file.last_error.message)) : null),
        el("td", {}, el("button", { type: "button", onclick: remove, "aria-label": `${t("remove")}: ${shown(name)}` }, t("remove"))));
    });
    const head = ["file", "size", "state"].map((one) => el("th", { scope: "col" }, t(one)));
    place.replaceChildren(el("h2", {}, t("filesOf", app.name)), rows.length
      ? el("table", {}, el("thead", {}, el("tr", {}, head, el("td", {}))), el("tbody", {}, rows)) : el("p", { class: "note" }, t("noFiles")));
  } catch (error) {
    if (error.name !== "AbortError") place.replaceChildren(fault(error));
  }
}
