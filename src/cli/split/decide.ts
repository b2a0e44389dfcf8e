import { InputError } from '../../core/errors.ts'
import { resolvedPlanFromJson, type ResolvedPlan } from '../../run/executor/messages.ts'
import type { WeightSource } from '../../model/graphs/source.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { planToJson } from '../../plan/price/json.ts'
import { formatBitsPerSecond, formatNumber, formatSeconds } from '../../report/numbers.ts'
import { decideTimed, openBundle, type KernelBundle } from '../../policy/controller/edge.ts'
import type { Connection } from '../../run/wire/types.ts'
import { describePlan } from '../commands/oracle-table.ts'
import type { Io } from '../io.ts'
import { checkExits } from './plan.ts'
import { probeLink } from '../../serve/edge/probe.ts'

/** What the requests to decide for look like. */
export interface ExpectedRequest {
  readonly promptTokens: number
  readonly maxNewTokens: number
  readonly requests: number
}

/** Above it, situations know no difference. */
const MAX_MBPS = 1e6
const REPEATS = 20
/** Without a cloud no heartbeat ever came back: an outage, in which nothing begins that needs the network. */
const NEVER_SECONDS = 3600

/**
 * Lets a bundle decide for the link as it is now, and says on standard error what and why. Without a connection it
 * decides as in an outage. Throws InputError for a bundle of another model.
 */
export async function decideByBundle(
  folder: string,
  trust: { readonly trust?: readonly string[] },
  source: Pick<WeightSource, 'model' | 'exitLayers'>,
  connection: Connection | null,
  demand: ExpectedRequest,
  io: Io,
): Promise<ResolvedPlan> {
  const bundle = await openBundle(folder, trust)
  try {
    checkModel(folder, source.model, bundle)
    const link = connection === null ? null : await probeLink(connection, io.clock)
    const { pair } = bundle.problem
    const longest = Math.min(bundle.manifest.problem.maxNewTokens, demand.maxNewTokens)
    const situation = bundle.situation({
      upMbps: link === null ? 0 : Math.min(MAX_MBPS, link.upBitsPerSecond / 1e6),
      downMbps: link === null ? 0 : Math.min(MAX_MBPS, link.downBitsPerSecond / 1e6),
      rttMs: link === null ? 0 : 1e3 * link.rttSeconds,
      promptTokens: demand.promptTokens,
      outputTokens: longest,
      waitingRequests: demand.requests,
      ...(link === null ? { sinceHeartbeatSeconds: NEVER_SECONDS } : {}),
    })
    const { plan, medianSeconds } = await decideTimed(bundle, situation, io.clock, { repeats: REPEATS })
    const seen =
      link === null
        ? 'no cloud'
        : `RTT ${formatSeconds(link.rttSeconds)}, ${formatBitsPerSecond(link.upBitsPerSecond)} up, ` +
          `${formatBitsPerSecond(link.downBitsPerSecond)} down`
    io.stderr.write(
      `${bundle.manifest.name} decides: ${describePlan(bundle.problem, plan)}, in ${formatSeconds(medianSeconds)}, ` +
        `because of ${seen}; prompt ${formatNumber(demand.promptTokens)}, answer up to ${formatNumber(longest)} tokens\n`,
    )
    const placed = resolvedPlanFromJson(source.model, planToJson(pair, plan), `plan of ${folder}`)
    return checkExits(source, placed)
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
