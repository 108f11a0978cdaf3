/** Pieces that several cards of the page have. */

import { h, type Child } from "./dom.ts";

/** A file input that looks like a button, works by keyboard and says its name. */
export function fileButton(id: string, label: string, take: (file: File) => void): Node {
  const input = h("input", {
    type: "file",
    id,
    onchange: () => {
      const file = input.files?.[0];
      input.value = ""; // the same file again is a choice too
      if (file !== undefined) take(file);
    },
  });
  return h("span", { class: "button file" }, input, h("label", { for: id }, label));
}

export function details(summary: string, ...children: readonly Child[]): Node {
  return h("details", {}, h("summary", {}, summary), ...children);
}
