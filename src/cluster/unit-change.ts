import type { DropIn } from "../units/manifest.ts";
import type { DesiredState } from "../units/unit-state.ts";
import type { UnitSourceView } from "./views.ts";

/** What can be asked of a unit. Each change is applied whole or not at all. */
export type UnitChange =
  /**
   * Makes the unit exist with this content. Without `content` an instance takes its template's. An existing unit with other content is
   * left alone (`differs`) unless `replace`. `lenient`: unknown options and malformed metadata in [X-Fleet] are passed over. `desired` is set too when given; a new unit without it is inactive.
   */
  | {
      readonly type: "submit";
      readonly name: string;
      readonly content?: string;
      readonly dropIns?: readonly DropIn[];
      readonly lenient?: boolean;
      readonly desired?: DesiredState;
      readonly replace?: boolean;
      /** Whose it is from now on. Refused for a unit of another source or of a person, unless `adopt`. */
      readonly source?: UnitSourceView;
      readonly adopt?: boolean;
    }
  | { readonly type: "desire"; readonly name: string; readonly desired: DesiredState }
  /** One more start of a launched unit, wherever it runs. */
  | { readonly type: "restart"; readonly name: string }
  /** `ifSource`: refused unless the unit is that source's. */
  | { readonly type: "destroy"; readonly name: string; readonly ifSource?: string };

export type ApplyResult =
  | {
      readonly type: "created" | "replaced" | "changed" | "unchanged" | "destroyed";
      readonly name: string;
      readonly identity: number;
      readonly restarts: number;
    }
  /** It exists with other content and `replace` was not said; nothing of this change was done. */
  | { readonly type: "differs"; readonly name: string; readonly identity: number }
  | { readonly type: "not-found"; readonly name: string }
  | { readonly type: "refused"; readonly name: string; readonly message: string };
