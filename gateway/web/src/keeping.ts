/**
 * The browser's storage, or, where it keeps nothing for this page, what lasts until it is closed.
 *
 * Reading `localStorage` throws where a reader has forbidden pages to keep anything.
 */

const visit = new Map<string, string>();

export function recall(name: string): string | null {
  return storage()?.getItem(name) ?? visit.get(name) ?? null;
}

export function keep(name: string, value: string): void {
  visit.set(name, value);
  try {
    storage()?.setItem(name, value);
  } catch {
    drop(name); // full: better nothing than the one before
    visit.set(name, value);
  }
}

export function drop(name: string): void {
  visit.delete(name);
  storage()?.removeItem(name);
}

function storage(): Storage | null {
  try {
    return localStorage;
  } catch {
    return null;
  }
}
