/**
 * Bytes, canonical base64, canonical decimals: kernel/tlog/encoding.py.
 *
 * A value has exactly one accepted spelling. Sizes, indexes and times are bigint: they go to
 * 2**63-1, and a number of JavaScript is exact only below 2**53.
 */

import { FormatError } from "./errors.ts";

export type Bytes = Uint8Array<ArrayBuffer>;

export const HASH_BYTES = 32;
export const MAX_UINT63 = 2n ** 63n - 1n;
const DECIMAL = /^(?:0|[1-9][0-9]{0,18})$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

const encoder = new TextEncoder();
// ignoreBOM keeps the mark in the text: dropped, two different texts would read alike
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function utf8(text: string): Bytes {
  return encoder.encode(text) as Bytes;
}

/** The text of bytes that must be UTF-8; FormatError. */
export function fromUtf8(data: Uint8Array, what: string): string {
  try {
    return strict.decode(data);
  } catch {
    throw new FormatError(`${what}: expected UTF-8`);
  }
}

/** Each byte as the character of its number: octets that may be no text, kept apart exactly. */
export function octets(data: Uint8Array): string {
  let text = "";
  for (const byte of data) text += String.fromCharCode(byte);
  return text;
}

export function fromOctets(text: string): Bytes {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

export function concat(...parts: readonly Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function equal(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, n) => byte === right[n]);
}

export function hex(data: Uint8Array): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function encodeBase64(data: Uint8Array): string {
  return btoa(octets(data));
}

/** The bytes of canonical base64; FormatError on anything another encoder would not write. */
export function decodeBase64(text: string, what: string): Bytes {
  if (text.length % 4 !== 0 || !BASE64.test(text)) {
    throw new FormatError(`${what}: expected base64, got ${shorten(text)}`);
  }
  const data = fromOctets(atob(text));
  if (encodeBase64(data) !== text) {
    // stray low bits in the last character
    throw new FormatError(`${what}: expected canonical base64, got ${shorten(text)}`);
  }
  return data;
}

/** A 32-byte SHA-256 value from its base64 line. */
export function decodeHash(text: string, what: string): Bytes {
  const data = decodeBase64(text, what);
  if (data.length !== HASH_BYTES) {
    throw new FormatError(`${what}: expected ${HASH_BYTES} bytes, got ${data.length}`);
  }
  return data;
}

/** ASCII decimal without sign, spaces or leading zeroes, 0..limit. */
export function parseDecimal(text: string, what: string, limit: bigint = MAX_UINT63): bigint {
  if (!DECIMAL.test(text) || BigInt(text) > limit) {
    throw new FormatError(
      `${what}: expected a decimal in 0..${limit} without leading zeroes, got ${shorten(text)}`,
    );
  }
  return BigInt(text);
}

export function uint64(value: bigint): Bytes {
  const data = new Uint8Array(8);
  new DataView(data.buffer).setBigUint64(0, value);
  return data;
}

/** A quoted piece of foreign text that is fit for an error message. */
export function shorten(text: string, limit = 80): string {
  return JSON.stringify(text.length <= limit ? text : `${text.slice(0, limit)}…`);
}
