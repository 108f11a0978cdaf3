/**
 * JSON read strictly (RFC 8259): no name twice in one object, integers apart from other numbers.
 *
 * JSON.parse takes the last of two fields with one name and makes 5 of 5.0: two readers would see
 * two records. Integers beyond 2**53 become bigint; other numbers stay text.
 */

export type Json = null | boolean | number | bigint | string | Fraction | Json[] | Fields;

export interface Fields {
  [name: string]: Json;
}

/** A number that is not written as an integer, as it is written. */
export class Fraction {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export class JsonError extends Error {
  override name = "JsonError";
}

const MAX_DEPTH = 200; // our records nest less than ten deep
const TOKEN =
  /[ \t\n\r]*(?:(["{}[\],:])|(-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?)|(true|false|null))/y;
const STRING = /(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;

export function parseJson(text: string): Json {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

export function isFields(value: Json | undefined): value is Fields {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Fraction)
  );
}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): Json {
    if (depth > MAX_DEPTH) throw new JsonError(`expected at most ${MAX_DEPTH} levels`);
    const token = this.#token();
    if (token[1] === '"') return this.#string();
    if (token[1] === "{") return this.#object(depth);
    if (token[1] === "[") return this.#array(depth);
    if (token[2] !== undefined) return number(token[2], token[3] ?? token[4]);
    if (token[5] !== undefined) return token[5] === "null" ? null : token[5] === "true";
    throw this.#wrong();
  }

  end(): void {
    if (/[^ \t\n\r]/.test(this.#text.slice(this.#at))) throw this.#wrong();
  }

  #object(depth: number): Fields {
    const fields: Fields = Object.create(null) as Fields; // "__proto__" is a name like another
    let mark = this.#token()[1];
    if (mark === "}") return fields;
    for (;;) {
      if (mark !== '"') throw this.#wrong();
      const name = this.#string();
      if (name in fields) throw new JsonError("a field stands twice in one object");
      if (this.#token()[1] !== ":") throw this.#wrong();
      fields[name] = this.value(depth + 1);
      const after = this.#token()[1];
      if (after === "}") return fields;
      if (after !== ",") throw this.#wrong();
      mark = this.#token()[1];
    }
  }

  #array(depth: number): Json[] {
    const items: Json[] = [];
    const before = this.#at;
    if (this.#token()[1] === "]") return items;
    this.#at = before;
    for (;;) {
      items.push(this.value(depth + 1));
      const after = this.#token()[1];
      if (after === "]") return items;
      if (after !== ",") throw this.#wrong();
    }
  }

  #string(): string {
    STRING.lastIndex = this.#at;
    const found = STRING.exec(this.#text);
    if (found === null) throw this.#wrong();
    this.#at = STRING.lastIndex;
    return JSON.parse(`"${found[0]}`) as string;
  }

  #token(): RegExpExecArray {
    TOKEN.lastIndex = this.#at;
    const found = TOKEN.exec(this.#text);
    if (found === null) throw this.#wrong();
    this.#at = TOKEN.lastIndex;
    return found;
  }

  #wrong(): JsonError {
    return new JsonError(`expected JSON, got something else at character ${this.#at}`);
  }
}

function number(text: string, rest: string | undefined): Json {
  if (rest !== undefined) return new Fraction(text);
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : BigInt(text);
}
