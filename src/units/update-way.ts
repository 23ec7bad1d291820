import { type Manifest, manifestOptions, manifestTexts } from "./manifest.ts";
import { optionValues } from "./unit-file.ts";

/** What a running unit does for a new file. `cannot-reload`: it is to reload, but has nothing to reload with, so it restarts. */
export type UpdateWay = "restart" | "reload" | "none" | "cannot-reload";

/** By `OnUpdate=` of the new files. Most units do not say it, and units come by the thousand. */
export function updateWay(manifest: Manifest): UpdateWay {
  if (!manifestTexts(manifest).some((text) => text.includes("OnUpdate"))) return "restart";
  const options = manifestOptions(manifest);
  const last = (section: string, name: string) => optionValues(options, { section, name }).at(-1);
  const mode = last("X-Fleet", "OnUpdate");
  if (mode === "none") return "none";
  if (mode !== "reload") return "restart";
  const reloads =
    last("Service", "ExecReload") !== undefined || last("Service", "Type") === "notify-reload";
  return reloads ? "reload" : "cannot-reload";
}
