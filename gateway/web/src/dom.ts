/**
 * Elements from plain values. Text only ever becomes text nodes, and never markup: much of it was
 * written by others.
 */

export type Child = Node | string | null;

type Attributes = Readonly<Record<string, string | boolean | ((event: Event) => void)>>;

/** `on…` functions listen; true stands for an empty attribute, false for none. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children) {
    if (child !== null) element.append(typeof child === "string" ? printable(child) : child);
  }
  return element;
}

// what steers a terminal or turns a line around is shown as a mark, as `tanzhang verify` does
const UNPRINTABLE = /(?!\n)[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;

export function printable(text: string): string {
  return text.replaceAll(UNPRINTABLE, "\ufffd");
}
