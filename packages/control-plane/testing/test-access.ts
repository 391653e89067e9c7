import { HoldfastError } from "@holdfast/contract";
import type { Caller, Role } from "../src/access/model.ts";
import type { Access } from "../src/access/service.ts";

/** The header `x-test-caller: id/role` says who calls; who may is asked as the real one does. */
export const TEST_ACCESS: Access = {
  hasKeys: async () => true,
  async identify(request, allowed) {
    const [id = "key_a", role = "user"] = String(
      request.headers["x-test-caller"] ?? "key_a/user",
    ).split("/");
    if (!allowed.includes(role as Role)) throw new HoldfastError("forbidden", "wrong role");
    return { id, role: role as Role, allowedClasses: null } satisfies Caller;
  },
};
