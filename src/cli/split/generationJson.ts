import { resolvedPlanToJson } from '../../run/executor/messages.ts'
import type { RequestOutput } from '../../run/executor/types.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { TextTokenizer } from '../../model/tokenizers/types.ts'
import type { RequestBytes } from '../../run/wire/metered.ts'
import type { GenerationOutcome, SidePrecisions } from '../../serve/edge/direct.ts'
import type { FiguresJson } from '../json/request.ts'
import type { GenerationJson } from '../json/split.ts'

/** Latencies of a request; null for what there is not. */
export function timingOf({ tokens, result }: GenerationOutcome): GenerationJson['timing'] {
  if (result === null || tokens.length === 0)
    return { ttftSeconds: null, tpotSeconds: null, endToEndSeconds: null }
  const ttftSeconds = tokens[0].atSeconds - result.dispatchSeconds
  const endToEndSeconds = tokens[tokens.length - 1].atSeconds - result.dispatchSeconds
  const further = tokens.length - 1
  const tpotSeconds = further === 0 ? null : (endToEndSeconds - ttftSeconds) / further
  return { ttftSeconds, tpotSeconds, endToEndSeconds }
}

/** What is told of every request of a run. */
export interface GenerationJsonOptions {
  readonly explain: boolean
  readonly precision: SidePrecisions
  /** What the bundle decided on; null where a plan was named. */
  readonly figures: FiguresJson | null
}

/** One answer as `edgewise edge --json` prints it. */
export function generationJson(
  model: ModelSpec,
  tokenizer: TextTokenizer | null,
  generation: GenerationOutcome,
  bytes: RequestBytes | null,
  { explain, precision, figures }: GenerationJsonOptions,
): GenerationJson {
  const { request, tokens, result, interrupted } = generation
  const ids = tokens.map(({ id }) => id)
  const stopped = request.stopIds.includes(ids.at(-1) ?? -1)
  const origin = result?.dispatchSeconds ?? 0
  return {
    tokens: ids,
    text: tokenizer === null ? null : tokenizer.decode(ids),
    end: interrupted ? 'interrupted' : stopped ? 'stop' : 'length',
    timing: timingOf(generation),
    nearTies: tokens.filter(({ nearTie }) => nearTie).length,
    bytes,
    plan: resolvedPlanToJson(model, request),
    precision: { ...precision },
    figures,
    ...(explain && result !== null ? { events: result.events.map((event) => since(origin, event)) } : {}),
  }
}

function since(origin: number, event: RequestOutput['events'][number]): RequestOutput['events'][number] {
  const { askedSeconds, startSeconds, endSeconds } = event
  return {
    ...event,
    askedSeconds: askedSeconds - origin,
    startSeconds: startSeconds - origin,
    endSeconds: endSeconds - origin,
  }
}
