import type { Clock } from '../../core/clock.ts'
import { InputError } from '../../core/errors.ts'
import type { WeightSource } from '../../model/graphs/source.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { Plan } from '../../plan/plan.ts'
import { planToJson } from '../../plan/price/json.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { ReadOptions } from '../../policy/bundle/files.ts'
import { decideTimed, openBundle, type KernelBundle } from '../../policy/controller/edge.ts'
import { resolvedPlanFromJson, type ResolvedPlan } from '../../run/executor/messages.ts'
import type { Connection } from '../../run/wire/types.ts'
import { checkExits } from './planWords.ts'
import { probeLink, type LinkProbe } from './probe.ts'

/** What the requests to decide for look like. */
export interface ExpectedRequest {
  readonly promptTokens: number
  readonly maxNewTokens: number
  readonly requests: number
}

/** What a bundle decided, and on what. */
export interface BundleDecision {
  readonly bundleName: string
  readonly problem: DecisionProblem
  readonly plan: Plan
  readonly resolved: ResolvedPlan
  /** Median of repeated decisions. */
  readonly decideSeconds: number
  /** The link as it was measured, or null without a cloud. */
  readonly link: LinkProbe | null
  /** Tokens of an answer that it was decided for: the bundle knows no longer ones. */
  readonly maxNewTokens: number
}

/** Above it, situations know no difference. */
const MAX_MBPS = 1e6
const REPEATS = 20
/** Without a cloud no heartbeat ever came back: an outage, in which nothing begins that needs the network. */
const NEVER_SECONDS = 3600

/**
 * Lets a bundle decide for the link as it is now. Without a connection it decides as in an outage. Throws InputError
 * for a bundle of another model, or of figures at another precision than `options` names. `memoryBytes`: what the
 * plan may take on the edge.
 */
export async function decideByBundle(
  folder: string,
  options: ReadOptions,
  source: Pick<WeightSource, 'model' | 'exitLayers'>,
  connection: Connection | null,
  demand: ExpectedRequest,
  clock: Clock,
  memoryBytes: number,
): Promise<BundleDecision> {
  const bundle = await openBundle(folder, options)
  try {
    checkModel(folder, source.model, bundle)
    const link = connection === null ? null : await probeLink(connection, clock)
    const { problem, manifest } = bundle
    const maxNewTokens = Math.min(manifest.problem.maxNewTokens, demand.maxNewTokens)
    const situation = bundle.situation({
      upMbps: link === null ? 0 : Math.min(MAX_MBPS, link.upBitsPerSecond / 1e6),
      downMbps: link === null ? 0 : Math.min(MAX_MBPS, link.downBitsPerSecond / 1e6),
      rttMs: link === null ? 0 : 1e3 * link.rttSeconds,
      promptTokens: demand.promptTokens,
      outputTokens: maxNewTokens,
      waitingRequests: demand.requests,
      // What this request reserves on this device, not the longest answer on the device that the policy learned for.
      maxNewTokens: demand.maxNewTokens,
      memoryBytes,
      ...(link === null ? { sinceHeartbeatSeconds: NEVER_SECONDS } : {}),
    })
    const { plan, medianSeconds } = await decideTimed(bundle, situation, clock, { repeats: REPEATS })
    const named = resolvedPlanFromJson(source.model, planToJson(problem.pair, plan), `plan of ${folder}`)
    const resolved = checkExits(source, named)
    const bundleName = manifest.name
    return { bundleName, problem, plan, resolved, decideSeconds: medianSeconds, link, maxNewTokens }
  } finally {
    await bundle.close()
  }
}

/** Weights do not matter to a policy, the shape does. */
const SHAPE = ['family', 'layers', 'width', 'heads', 'kvHeads', 'headDim', 'ffnWidth', 'vocabulary'] as const

/** Throws InputError for a bundle that learned to place another model. */
export function checkModel(
  folder: string,
  model: ModelSpec,
  { problem }: Pick<KernelBundle, 'problem'>,
): void {
  const learned = problem.pair.model
  const odd = SHAPE.find((field) => learned[field] !== model[field])
  if (odd === undefined) return
  throw new InputError({
    where: `--bundle ${folder}`,
    expected: `a policy for ${model.id} (${odd} ${model[odd]})`,
    found: `one for ${learned.id} (${odd} ${learned[odd]})`,
    remedy: 'train one in a scenario with this model, or name a --plan',
  })
}
