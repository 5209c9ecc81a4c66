// The view "Memory": what it holds, its versions, and the way back to one of them.
import { call } from "./api.js";
import { el, fault, say, shown, sure } from "./dom.js";
import { bytes, count, t } from "./strings.js";

export async function show(main, app) {
  const place = el("div", { class: "page" }, el("h1", {}, `${t("memoryTitle")} “${shown(app.name)}”`));
  main.replaceChildren(place);
  const query = `?memory=${encodeURIComponent(app.current)}`;
  try {
    const [info, versions] = await Promise.all(["info", "versions"].map((one) => call(`v1/memory/${one}${query}`, { signal: app.leaving })));
    place.append(factsView(info), el("h2", {}, t("versions")), versionsView(versions.data, app, place));
  } catch (error) {
    if (error.name !== "AbortError") place.append(fault(error));
  }
}

function factsView(info) {
  const columns = Object.entries(info.metadata).map(([name, type]) => `${name} (${type})`).join(", ");
  const rows = [["version", count(info.version)], ["entriesCount", count(info.entries)], ["bytes", bytes(info.bytes)],
    ["deleted", count(info.deleted_rows)], ["segments", count(info.segments)], ["encoder", `${info.encoder.name}, ${info.encoder.dimension}`],
    ["languageModel", info.language_model], ["lexical", info.lexical ? t("yes") : t("no")],
    ["states", info.states ? `${info.states.model}, ${info.states.dtype}` : t("none")], ["columns", columns || t("none")]];
  return el("dl", { class: "facts" }, rows.map(([name, value]) => el("div", {}, el("dt", {}, t(name)), el("dd", {}, shown(value)))));
}

function versionsView(versions, app, place) {
  const rows = versions.toReversed().map(({ version, entries, job }, number) => {
    const { name, ...more } = job ?? {};
    const counts = Object.entries(more).filter(([, value]) => value).map(([key, value]) => `${key.replaceAll("_", " ")} ${value}`);
    const restore = async () => {
      if (!(await sure(t("sureVersion", version), t("restore")))) return;
      try {
        const info = await call("v1/memory/rollback", { method: "POST", json: { memory: app.current, version } });
        app.show();
        say(t("restored", info.version));
      } catch (error) {
        place.append(fault(error));
      }
    };
    const button = el("button", { type: "button", onclick: restore, "aria-label": `${t("restore")}: ${version}` }, t("restore"));
    return el("tr", {}, el("th", { scope: "row" }, count(version)), el("td", {}, count(entries)),
      el("td", {}, shown(name ?? ""), el("small", {}, shown(counts.join(", ")))), el("td", {}, number ? button : t("present")));
  });
  const head = ["version", "entriesCount", "job"].map((one) => el("th", { scope: "col" }, t(one)));
  return el("table", {}, el("thead", {}, el("tr", {}, head, el("td", {}))), el("tbody", {}, rows));
}
