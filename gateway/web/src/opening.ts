/** Where a file comes from: a chosen or dropped file, or the fragment of a scanned address. */

import { concat, fromOctets, type Bytes } from "./tlog/encoding.ts";
import { MAX_FILE_BYTES } from "./verdict.ts";

const PARAMETER = "#r=";
const BASE64URL = /^[A-Za-z0-9_-]+$/;

/** What was opened; no name when it came in a code. */
export interface Opened {
  readonly name: string | null;
  readonly data: Bytes;
}

export async function openFile(file: File): Promise<Opened> {
  // cut, not refused, here: the verdict says that it is too large
  const part = file.slice(0, MAX_FILE_BYTES + 1);
  return { name: file.name, data: new Uint8Array(await part.arrayBuffer()) };
}

export function hasCode(fragment: string): boolean {
  return fragment.startsWith(PARAMETER);
}

/** The file in `#r=<base64url of its raw deflate>`; null if there is none whole. */
export async function openCode(fragment: string): Promise<Opened | null> {
  const encoded = fragment.slice(PARAMETER.length);
  if (!hasCode(fragment) || !BASE64URL.test(encoded)) return null;
  try {
    const packed = fromOctets(atob(encoded.replaceAll("-", "+").replaceAll("_", "/")));
    return { name: null, data: await inflate(packed) };
  } catch {
    return null;
  }
}

async function inflate(packed: Bytes): Promise<Bytes> {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const parts: Uint8Array[] = [];
  let size = 0;
  for (const reader = stream.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return concat(...parts);
    size += value.length;
    parts.push(value);
    if (size > MAX_FILE_BYTES) throw new RangeError("a few bytes that unpack to millions");
  }
}
