// A cited passage: its source, its share, and its words, which light up by attention.
import { cutter, el, outward, safeLink, shown } from "./dom.js";
import { percent, t } from "./strings.js";

const WORD = /[\p{L}\p{N}\p{M}]/u;
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u;

/** Whether two characters stand in the same word. */
export const joins = (a, b) => WORD.test(a) && WORD.test(b) && !UNSPACED.test(a) && !UNSPACED.test(b);

export class Passage {
  /**
   * @param entry of the response
   * @param number shown to people
   * @param looked for each token of the answer, the places in the text that it looked at; null where that is not known
   * @param quote {start, end} in the text, or null
   */
  constructor(entry, number, looked, quote) {
    this.entry = entry;
    this.number = number;
    this.cut = cutter(entry.text);
    const places = (looked ?? []).flat().map(([start, end]) => [start, end]);
    const bounds = new Set([0, this.cut.points, ...places.flat()]);
    if (quote) bounds.add(quote.start).add(quote.end);
    this.bounds = [...bounds].sort((a, b) => a - b);
    this.parts = this.bounds.slice(0, -1).map((start, place) => {
      const quoted = quote && quote.start <= start && start < quote.end;
      return el("span", { class: quoted ? "part quoted" : "part" }, shown(this.cut(start, this.bounds[place + 1])));
    });
    this.bar = el("span", { class: "bar", "aria-hidden": true });
    this.shareText = el("span", { class: "share" });
    const spans = entry.explains ?? [];
    this.element = el(
      "li",
      { class: `passage e${((number - 1) % 6) + 1}`, tabindex: "-1", "aria-label": t("passage", number) },
      el("div", { class: "source" }, el("span", { class: "number", "aria-hidden": true }, String(number)),
        el("span", { class: "title" }, outward(entry.url, shown(entry.title || entry.place)), el("small", {}, shown(entry.place))),
        el("span", { class: "measure" }, this.bar, this.shareText)),
      entry.picture ? el("img", { class: "picture", src: safeLink(entry.picture), alt: shown(entry.text) }) : null,
      el("p", { class: "text", dir: "auto" }, this.parts),
      entry.share === null ? null : el("p", { class: "explains" }, spans.length
        ? [t("explains"), ...spans.map((text) => el("q", { dir: "auto" }, shown(text)))] : t("explainsNothing")),
    );
    this.showShare(entry.share);
  }

  /** Show a share of the attention: the answer's, or that of one word. */
  showShare(share) {
    this.bar.style.setProperty("--part", share ?? 0);
    this.shareText.textContent = share === null || share === undefined ? t("noShare") : t("share", percent(share));
  }

  /** Light up places by their share; `most` is the one that is brightest. */
  light(places, most) {
    this.clear();
    for (const [start, end, share] of places) {
      for (let place = this.bounds.indexOf(start); this.bounds[place] < end; place += 1) {
        const part = this.parts[place];
        const before = Number(part.dataset.share ?? 0);
        part.dataset.share = Math.max(before, share);
        part.style.setProperty("--light", Math.max(before, share) && (Math.max(before, share) / most) ** 0.7);
        part.classList.add("lit");
      }
    }
  }

  /** Put out all lights. */
  clear() {
    for (const part of this.parts.filter((one) => one.classList.contains("lit"))) {
      part.classList.remove("lit");
      part.style.removeProperty("--light");
      delete part.dataset.share;
    }
  }

  /** The whole word around a place. */
  word(start, end) {
    const at = (place) => this.cut(place, place + 1);
    while (start > 0 && joins(at(start - 1), at(start))) start -= 1;
    while (end < this.cut.points && joins(at(end - 1), at(end))) end += 1;
    return this.cut(start, end).trim();
  }
}
