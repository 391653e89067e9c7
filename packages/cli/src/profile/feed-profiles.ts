/** Tells a Holdfast what graphs cost: `PUT /api/v1/profiles`. */
import type { FedProfile } from "@holdfast/load";
import { createApiClient, failureOf, type ServerAddress } from "../api/api-client.ts";
import { shownUrl } from "../experiment/shown-url.ts";

/** What became of it, in words. It is no reason to fail: what was measured is in its files. */
export async function feedProfiles(
  address: ServerAddress,
  profiles: readonly FedProfile[],
): Promise<{ readonly isStored: boolean; readonly words: string }> {
  const url = shownUrl(address.baseUrl);
  if (profiles.length === 0) {
    return { isStored: false, words: `nothing to tell ${url}: no workflow has a warm time` };
  }
  const answer = await createApiClient(address).request("/api/v1/profiles", {
    method: "PUT",
    json: { profiles },
  });
  if (answer.kind === "answered") {
    await answer.response.body?.cancel();
    return { isStored: true, words: `told ${url} of ${profiles.length} profiles` };
  }
  if (answer.kind === "refused" && answer.status === 404) {
    return { isStored: false, words: `${url} takes no profiles: it is an older Holdfast` };
  }
  return {
    isStored: false,
    words: `${url} was not told: ${failureOf(answer, address.baseUrl).message}`,
  };
}
