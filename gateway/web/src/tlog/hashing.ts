/** SHA-256 and Ed25519 from WebCrypto: the only two primitives the logs need. */

import type { Bytes } from "./encoding.ts";
import { UnsupportedError } from "./errors.ts";

export async function sha256(data: Bytes): Promise<Bytes> {
  return new Uint8Array(await subtle().digest("SHA-256", data));
}

/** Whether this is the key's signature; UnsupportedError where the browser cannot tell. */
export async function verifyEd25519(
  publicKey: Bytes,
  signature: Bytes,
  message: Bytes,
): Promise<boolean> {
  let key: CryptoKey;
  try {
    key = await subtle().importKey("raw", publicKey, "Ed25519", false, ["verify"]);
  } catch (error) {
    if (error instanceof DOMException && error.name === "NotSupportedError") {
      throw new UnsupportedError("this browser's WebCrypto has no Ed25519");
    }
    return false; // no point of the curve: nothing it signed can verify
  }
  return subtle().verify("Ed25519", key, signature, message);
}

function subtle(): SubtleCrypto {
  // absent on pages that came without TLS from another machine
  const found = globalThis.crypto?.subtle;
  if (found === undefined) {
    throw new UnsupportedError("WebCrypto is not there: it needs https or localhost");
  }
  return found;
}
