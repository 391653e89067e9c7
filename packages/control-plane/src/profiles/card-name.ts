/** Longest name of a card that is kept. */
const CARD_NAME_MAX = 128;

/**
 * What kind of card it is: ComfyUI says `cuda:0 NVIDIA GeForce RTX 4090 : cudaMallocAsync`, the driver
 * `NVIDIA GeForce RTX 4090`. Empty where nobody told.
 */
export function cardName(told: string | null): string {
  const name = (told ?? "")
    .replace(/^\s*[a-z]+:\d+\s+/i, "")
    .replace(/\s+:\s+\S+\s*$/, "")
    .trim();
  return name.slice(0, CARD_NAME_MAX);
}
