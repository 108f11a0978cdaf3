/** JSON in its one accepted spelling: sorted keys, no spaces, UTF-8. */

import { equal, fromUtf8, utf8, type Bytes } from "./encoding.ts";
import { FormatError } from "./errors.ts";
import { Fraction, JsonError, isFields, parseJson, type Fields, type Json } from "./json.ts";

/** The one spelling of a value. FormatError for text that no UTF-8 can hold. */
export function canonicalJson(value: Json): string {
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new FormatError("expected text, got half a character");
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (isFields(value)) {
    const names = Object.keys(value).toSorted();
    const pairs = names.map((name) => {
      return `${canonicalJson(name)}:${canonicalJson(value[name] as Json)}`;
    });
    return `{${pairs.join(",")}}`;
  }
  return value instanceof Fraction ? value.text : String(value);
}

/** The one object in these bytes, in its canonical spelling. FormatError. */
export function readCanonical(data: Bytes, what: string): Fields {
  let value: Json;
  try {
    value = parseJson(fromUtf8(data, what));
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new FormatError(`${what}: expected JSON: ${error.message}`);
  }
  if (!isFields(value) || !equal(utf8(canonicalJson(value)), data)) {
    throw new FormatError(`${what}: expected one JSON object with sorted keys and no spaces`);
  }
  return value;
}
