import { randomBytes } from "node:crypto";
import type { Random } from "./random.ts";

export const systemRandom: Random = {
  id: () => randomBytes(16).toString("hex"),
  fraction: () => Math.random(),
};
