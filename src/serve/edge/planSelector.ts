import type { Clock } from '../../core/clock.ts'
import { EdgewiseError, InputError } from '../../core/errors.ts'
import { attentionUnits, type ModelSpec } from '../../model/spec.ts'
import { CLOUD, EDGE, uniformPlan, needsCloud, type Plan } from '../../plan/plan.ts'
import { accuracyTableOf } from '../../plan/profile/accuracyFile.ts'
import { exitPlans } from '../../plan/oracle/value.ts'
import { cloudPlan as leastEdgePlan } from '../../plan/planners/fixed.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { Precision } from '../../model/precision.ts'
import { PrecisionError } from '../../plan/profile/precision.ts'
import type { Profile } from '../../plan/profile/types.ts'
import type { ReadOptions } from '../../policy/bundle/files.ts'
import { openBundle, PlanController } from '../../policy/controller/edge.ts'
import { SHORTEST_REQUEST_TOKENS } from '../../run/executor/memoryBudget.ts'
import type { ResolvedPlan } from '../../run/executor/messages.ts'
import type { OpenedSide } from '../side.ts'
import { checkModel } from './decideByBundle.ts'
import { checkExits, readPlan } from './planWords.ts'
import { policySelector } from './policySelector.ts'
import { resolvePlan } from './resolvePlan.ts'
import { staticSelector } from './staticSelector.ts'
import type { PlanSelector, ServiceEvent } from './types.ts'

/** How long a cloud must have been back before requests return to it. */
const STABLE_SECONDS = 3

/** Who is to decide. */
export interface DeciderOptions {
  /** A plan in a word or a JSON file: every request is carried out by it. */
  readonly plan?: string
  /** Folder of a bundle: its policy decides. Neither plan nor bundle: all on the edge, or all in the cloud. */
  readonly bundle?: string
  /** PEM texts of public keys, one of which must have signed the bundle; default: no signature is asked for. */
  readonly trust?: readonly string[]
  /** Profiles whose figures take the place of the bundle's, as at another precision. */
  readonly profiles?: { readonly edge?: Profile; readonly cloud?: Profile }
  /** Accuracy table whose ranking says which heads go to the cloud first; default: the one beside the model. */
  readonly accuracyFile?: string
}

interface PlanSelectorOptions extends DeciderOptions {
  readonly hasCloud: boolean
  readonly outageSeconds: number
  readonly clock: Clock
  readonly onEvent: (event: ServiceEvent) => void
}

/** How a bundle is opened for an edge and a cloud of these precisions; null: no cloud has told its own yet. */
export function bundleOptions(
  { trust, profiles }: DeciderOptions,
  edge: Precision,
  cloud: Precision | null,
): ReadOptions {
  return { trust, profiles, precision: { edge, cloud } }
}

/** The plan without a cloud; null where the model does not fit this side's memory. */
export function planAlone(side: OpenedSide): ResolvedPlan | null {
  const { model } = side.pretrained.source
  const plan = edgePlan(side)
  return side.memory.couldFit(plan, SHORTEST_REQUEST_TOKENS) ? everywhere(model, plan) : null
}

/**
 * Who decides: the forced plan, the bundle's policy, or a static fallback where the bundle is missing or invalid, of
 * which an event tells. Throws InputError for a plan that cannot be, for a bundle of figures at another precision than
 * this edge has, and where nothing could carry a request out.
 */
export async function planSelectorOf(
  options: PlanSelectorOptions,
  side: OpenedSide,
  alone: ResolvedPlan | null,
): Promise<PlanSelector> {
  const { plan, bundle, accuracyFile, outageSeconds, clock, onEvent } = options
  const { source, path } = side.pretrained
  const { ranking } = accuracyTableOf(source.model, path, accuracyFile)
  const common = { alone, outageSeconds, stableSeconds: STABLE_SECONDS }
  if (plan !== undefined) {
    const placed = readPlan(plan, source, ranking)
    requireCloud(placed, options.hasCloud)
    side.memory.check(placed.plan, SHORTEST_REQUEST_TOKENS)
    return staticSelector({ ...common, name: `the plan ${plan}`, source: 'forced', placed })
  }
  if (!options.hasCloud) side.memory.check(edgePlan(side), SHORTEST_REQUEST_TOKENS)
  const fallback = alone ?? everywhere(source.model, cloudPlan(side))
  requireCloud(fallback, options.hasCloud)
  const policy = bundle === undefined ? 'no bundle was named' : await openPolicy(bundle, options, side, alone)
  if (typeof policy !== 'string') return policy
  onEvent({
    kind: 'degraded',
    atSeconds: clock.nowSeconds(),
    part: 'policy',
    reason: `${policy}; a static plan serves`,
  })
  return staticSelector({ ...common, name: 'the static fallback', source: 'fallback', placed: fallback })
}

/** The policy of the bundle in `folder`, or why there is none. */
async function openPolicy(
  folder: string,
  options: PlanSelectorOptions,
  side: OpenedSide,
  alone: ResolvedPlan | null,
): Promise<PlanSelector | string> {
  const { outageSeconds, clock } = options
  try {
    const bundle = await openBundle(folder, bundleOptions(options, side.precision, null))
    const { source } = side.pretrained
    checkModel(folder, source.model, bundle)
    const { unitsByLayer } = bundle.problem.pair.accuracy.ranking
    const fallback = alone?.plan ?? cloudPlan(side)
    return policySelector({
      name: bundle.manifest.name,
      problem: bundle.problem,
      worksOffline: alone !== null || source.exitLayers.length > 0,
      leastPlans: leastPlans(bundle.problem, fallback, options.hasCloud),
      controller: new PlanController({ bundle, fallback, offlinePlan: alone?.plan ?? null, clock }),
      resolve: (plan) => checkExits(source, resolvePlan(plan, unitsByLayer)),
      outageSeconds,
    })
  } catch (error) {
    // A static plan would serve on no figures at all where the operator asked for a policy on the right ones.
    if (!(error instanceof EdgewiseError) || error instanceof PrecisionError) throw error
    return `the bundle ${folder} is not used: ${error.message.replaceAll('\n', ';')}`
  }
}

/** Plans with the least on the edge that a policy of this problem may choose. */
function leastPlans(problem: DecisionProblem, fallback: Plan, hasCloud: boolean): readonly Plan[] {
  if (hasCloud) return [leastEdgePlan(problem), fallback]
  return [...exitPlans(problem.pair, problem).filter((plan) => !needsCloud(plan)), fallback]
}

function edgePlan({ pretrained }: OpenedSide): Plan {
  const { model } = pretrained.source
  return uniformPlan(model.layers, attentionUnits(model), EDGE)
}

function cloudPlan({ pretrained }: OpenedSide): Plan {
  const { model } = pretrained.source
  return uniformPlan(model.layers, attentionUnits(model), CLOUD)
}

function everywhere(model: Pick<ModelSpec, 'layers' | 'kvHeads'>, plan: Plan): ResolvedPlan {
  const all = Array.from({ length: model.kvHeads }, (_, unit) => unit)
  return resolvePlan(
    plan,
    Array.from({ length: model.layers }, () => all),
  )
}

/** Throws InputError for a plan that needs a cloud where there is none. */
export function requireCloud({ plan }: ResolvedPlan, hasCloud: boolean): void {
  if (hasCloud || !needsCloud(plan)) return
  throw new InputError({
    where: '--cloud',
    expected: 'an address: the plan needs a cloud',
    found: 'nothing',
    remedy: 'say --cloud host:port, --plan edge, or a larger --memory-gb',
  })
}
