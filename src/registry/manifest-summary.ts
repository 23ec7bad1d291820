import type { ManifestSummary } from "../cluster/unit-view.ts";
import type { Manifest } from "../units/manifest.ts";
import { scanUnitFile } from "../units/unit-file.ts";
import { unitHash } from "../units/unit-hash.ts";

/** What views show of a manifest. Never refuses: what is in the registry was checked, perhaps by other rules. */
export function summarizeManifest(manifest: Manifest): ManifestSummary {
  const { unitFile } = scanUnitFile(manifest.content, "unit");
  const description = unitFile.options.find(
    ({ section, name }) => section === "Unit" && name === "Description",
  );
  return { hash: unitHash(unitFile), description: description?.value ?? "" };
}
