/**
 * A ZIP with exactly one spelling: members stored in a given order, fixed time, no extras; as
 * kernel/tlog/container.py. Reading accepts only the bytes that writing the same members would
 * make, so nothing can hide in it.
 */

import { concat, equal, octets, shorten, utf8, type Bytes } from "./encoding.ts";
import { ReceiptError } from "./errors.ts";

export const CONTAINER = "container";
const LOCAL_BYTES = 30;
const VERSION = 20;
const UNIX = 3 << 8;
const MODE = 0o100644 * 65536;
const DATE = (1 << 5) | 1; // 1980-01-01, the first day a ZIP can say
const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;

/** The ZIP of these members in their order. */
export function packMembers(members: ReadonlyMap<string, Bytes>): Bytes {
  const body: Bytes[] = [];
  const directory: Bytes[] = [];
  let offset = 0;
  for (const [name, data] of members) {
    const encoded = utf8(name);
    const shared = [
      ...[u16(VERSION), u16(0), u16(0), u16(0), u16(DATE)],
      ...[u32(crc32(data)), u32(data.length), u32(data.length), u16(encoded.length), u16(0)],
    ];
    const central = [u16(0), u16(0), u16(0), u32(MODE), u32(offset), encoded];
    directory.push(concat(u32(CENTRAL), u16(VERSION | UNIX), ...shared, ...central));
    const local = concat(u32(LOCAL), ...shared, encoded, data);
    body.push(local);
    offset += local.length;
  }
  const listed = concat(...directory);
  const count = u16(members.size);
  const end = [u16(0), u16(0), count, count, u32(listed.length), u32(offset), u16(0)];
  return concat(...body, listed, u32(END), ...end);
}

/**
 * The members of a ZIP that `packMembers` made: exactly those of `limits`, in that order.
 *
 * `limits` gives each member's largest size in bytes. ReceiptError names the member that is extra,
 * missing, doubled, compressed, too large or damaged, else the container.
 */
export function unpackMembers(
  data: Bytes,
  limits: ReadonlyMap<string, number>,
): Map<string, Bytes> {
  const members = new Map<string, Bytes>();
  const expected = [...limits.keys()];
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let at = 0;
  while (data.length - at >= LOCAL_BYTES && view.getUint32(at, true) === LOCAL) {
    const crc = view.getUint32(at + 14, true);
    const size = view.getUint32(at + 22, true);
    const start = at + LOCAL_BYTES + view.getUint16(at + 26, true);
    const name = octets(data.subarray(at + LOCAL_BYTES, start));
    checkPlace(name, members, limits, expected);
    const isPlain =
      view.getUint16(at + 6, true) === 0 &&
      view.getUint16(at + 8, true) === 0 &&
      view.getUint32(at + 18, true) === size &&
      view.getUint16(at + 28, true) === 0;
    if (!isPlain) {
      throw new ReceiptError(CONTAINER, `${name}: expected a plain stored member`);
    }
    const limit = limits.get(name) as number;
    if (size > limit) {
      throw new ReceiptError(name, `expected at most ${limit} bytes, got ${size}`);
    }
    at = start + size;
    if (at > data.length) {
      throw new ReceiptError(CONTAINER, `${name}: expected ${size} bytes, the file ends before`);
    }
    const content = data.slice(start, at);
    if (crc32(content) !== crc) {
      // tells accidents apart by member; who means harm can make any CRC fit
      throw new ReceiptError(name, "damaged: its CRC is another");
    }
    members.set(name, content);
  }
  checkWhole(data, members, expected);
  return members;
}

/** The names a file's members would have by their headers, unchecked: to tell kinds apart. */
export function firstName(data: Bytes): string {
  if (data.length < LOCAL_BYTES) return "";
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (view.getUint32(0, true) !== LOCAL) return "";
  return octets(data.subarray(LOCAL_BYTES, LOCAL_BYTES + view.getUint16(26, true)));
}

function checkPlace(
  name: string,
  members: ReadonlyMap<string, Bytes>,
  limits: ReadonlyMap<string, number>,
  expected: readonly string[],
): void {
  if (members.has(name)) {
    throw new ReceiptError(CONTAINER, `expected ${name} once, got it again`);
  }
  if (!limits.has(name)) {
    throw new ReceiptError(CONTAINER, `expected ${expected.join(", ")}, got ${shorten(name)}`);
  }
  if (name !== expected[members.size]) {
    throw new ReceiptError(CONTAINER, `expected ${expected[members.size]} next, got ${name}`);
  }
}

function checkWhole(
  data: Bytes,
  members: ReadonlyMap<string, Bytes>,
  expected: readonly string[],
): void {
  const missing = expected.slice(members.size);
  if (missing.length) {
    throw new ReceiptError(CONTAINER, `expected a ZIP with ${missing.join(", ")}, got none`);
  }
  const canonical = packMembers(members);
  if (equal(data, canonical)) return;
  if (equal(data.subarray(0, canonical.length), canonical)) {
    const extra = data.length - canonical.length;
    throw new ReceiptError(CONTAINER, `expected ${canonical.length} bytes, got ${extra} more`);
  }
  throw new ReceiptError(
    CONTAINER,
    "expected the one spelling of these members, got other ZIP headers",
  );
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crc32(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = (CRC_TABLE[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function u16(value: number): Bytes {
  const data = new Uint8Array(2);
  new DataView(data.buffer).setUint16(0, value, true);
  return data;
}

function u32(value: number): Bytes {
  const data = new Uint8Array(4);
  new DataView(data.buffer).setUint32(0, value, true);
  return data;
}
