import { EdgewiseError, InputError } from '../../core/errors.ts'
import type { ResolvedPlan } from '../../run/executor/messages.ts'
import { attentionUnits } from '../../model/spec.ts'
import { CLOUD, EDGE, uniformPlan, needsCloud, type Plan } from '../../plan/plan.ts'
import { openBundle, Governor } from '../../policy/controller/edge.ts'
import { resolvePlan, wholeModelBytes } from '../../serve/edge/resolvePlan.ts'
import { policySelector } from '../../serve/edge/policySelector.ts'
import { staticSelector } from '../../serve/edge/staticSelector.ts'
import type { PlanSelector, ServiceEvent } from '../../serve/edge/types.ts'
import type { EdgeOptions } from '../commands/edge.ts'
import type { Io } from '../io.ts'
import { readTrust } from '../trust.ts'
import { accuracyOf } from '../split/accuracy.ts'
import { checkModel } from '../split/decide.ts'
import { checkExits, readPlan } from '../split/plan.ts'
import type { OpenedSide } from '../split/side.ts'

/** How long a cloud must have been back before requests return to it. */
const STABLE_SECONDS = 3

/** The plan without a cloud; null where the model does not fit this side's memory. */
export function planAlone({ pretrained, precision }: OpenedSide, memoryBytes: number): ResolvedPlan | null {
  const { model } = pretrained.source
  if (wholeModelBytes(model, precision) > memoryBytes) return null
  return everywhere(model, uniformPlan(model.layers, attentionUnits(model), EDGE))
}

/**
 * Who decides: the forced plan, the bundle's policy, or a static fallback where the bundle is missing or invalid; that
 * is said. Throws InputError for a plan that cannot be, and where nothing could carry a request out.
 */
export async function planSelectorOf(
  options: EdgeOptions,
  side: OpenedSide,
  alone: ResolvedPlan | null,
  onEvent: (event: ServiceEvent) => void,
  io: Io,
): Promise<PlanSelector> {
  const { ranking } = accuracyOf(options, side.pretrained)
  const common = { alone, outageSeconds: options.outageSeconds, stableSeconds: STABLE_SECONDS }
  if (options.plan !== undefined) {
    const placed = readPlan(options.plan, side.pretrained.source, ranking)
    requireCloud(placed, options)
    return staticSelector({ ...common, name: `the plan ${options.plan}`, source: 'forced', placed })
  }
  const fallback = alone ?? everywhere(side.pretrained.source.model, cloudPlan(side))
  requireCloud(fallback, options)
  const policy =
    options.bundle === undefined ? 'no bundle was named' : await openPolicy(options, side, alone, io)
  if (typeof policy !== 'string') return policy
  onEvent({
    kind: 'degraded',
    atSeconds: io.clock.nowSeconds(),
    part: 'policy',
    reason: `${policy}; a static plan serves`,
  })
  return staticSelector({ ...common, name: 'the static fallback', source: 'fallback', placed: fallback })
}

/** The bundle's policy, or why there is none. */
async function openPolicy(
  options: EdgeOptions,
  side: OpenedSide,
  alone: ResolvedPlan | null,
  io: Io,
): Promise<PlanSelector | string> {
  const folder = options.bundle!
  // A key that cannot be read is the operator's mistake, no bundle's.
  const trust = readTrust(options.trust)
  try {
    const bundle = await openBundle(folder, trust)
    const { source } = side.pretrained
    checkModel(folder, source.model, bundle)
    const { unitsByLayer } = bundle.problem.pair.accuracy.ranking
    const place = (plan: Plan): ResolvedPlan => checkExits(source, resolvePlan(plan, unitsByLayer))
    const fallback = alone?.plan ?? cloudPlan(side)
    const governor = new Governor({ bundle, fallback, offlinePlan: alone?.plan ?? null, clock: io.clock })
    const { name } = bundle.manifest
    const servesAlone = alone !== null || source.exitLayers.length > 0
    return policySelector({
      name,
      worksOffline: servesAlone,
      controller: governor,
      resolve: place,
      outageSeconds: options.outageSeconds,
    })
  } catch (error) {
    if (!(error instanceof EdgewiseError)) throw error
    return `the bundle ${folder} is not used: ${error.message.replaceAll('\n', ';')}`
  }
}

function cloudPlan({ pretrained }: OpenedSide): Plan {
  const { model } = pretrained.source
  return uniformPlan(model.layers, attentionUnits(model), CLOUD)
}

function everywhere(model: { readonly layers: number; readonly kvHeads: number }, plan: Plan): ResolvedPlan {
  const all = Array.from({ length: model.kvHeads }, (_, unit) => unit)
  return resolvePlan(
    plan,
    Array.from({ length: model.layers }, () => all),
  )
}

function requireCloud(placed: ResolvedPlan, { cloud }: EdgeOptions): void {
  if (cloud !== undefined || !needsCloud(placed.plan)) return
  throw new InputError({
    where: '--cloud',
    expected: 'an address: the plan needs a cloud, or the model does not fit this memory',
    found: 'nothing',
    remedy: 'say --cloud host:port, --plan edge, or a larger --memory-gb',
  })
}
