import { systemClock } from '../../src/core/clock.ts'
import type { GeneratorHandle } from '../../src/run/executor/recoveryTypes.ts'
import { drawWireFault, type Ask, type DrawOptions, type WireFault } from './draw.ts'
import { Gaps } from './gaps.ts'
import type { Outcome, Phase, WireKind } from './kinds.ts'
import { alonePlan, isExact, planNamed } from './plans.ts'
import { leaksOf, within } from './wait.ts'
import { MODEL, requestOf, SILENCE_SECONDS, type World } from './world.ts'

/** Seconds until a fault whose requests have not ended counts as a hang. */
export const HANG_SECONDS = 30
/** A moment that never comes (an exit that asks nothing) is drawn again so often. */
const DRAWS = 20

export interface WireRun {
  readonly outcome: Outcome
  /** Draws whose moment did not come. */
  readonly missed: number
}

/** Draws faults from the seed until one comes about, and tells what came of it. */
export async function runWireFault(
  world: World,
  seed: number,
  only: { readonly kind?: WireKind; readonly phase?: Phase } = {},
): Promise<WireRun> {
  const options: DrawOptions = { vocabulary: MODEL.vocabulary, silenceSeconds: SILENCE_SECONDS, ...only }
  for (let draw = 0; draw < DRAWS; draw++) {
    const outcome = await carryOut(world, drawWireFault(seed, options, draw))
    if (outcome !== null) return { outcome, missed: draw }
  }
  throw new Error(`seed ${seed}: in ${DRAWS} draws the moment of the fault never came`)
}

/** Null where the fault did not come about, and all was well. */
async function carryOut(world: World, fault: WireFault): Promise<Outcome | null> {
  const { proxy, edge, link } = world
  const gaps = new Gaps(() => systemClock.nowSeconds())
  await link.opened(AbortSignal.timeout(1000 * HANG_SECONDS))
  const last = fault.script.length - 1
  proxy.play(
    fault.script.map((step, i) => ({
      ...step,
      when: (frame) => {
        const now = step.when(frame)
        if (now && i === last) gaps.fault()
        return now
      },
    })),
  )
  const handles = fault.asks.map((ask, i) => edge.start(requestOf(ask), { onToken: () => gaps.token(i) }))
  const stop = react(world, fault, handles)
  const ends = handles.map(({ result }) =>
    result.then(
      () => null,
      (error: unknown) => error as Error,
    ),
  )
  const all = await within(HANG_SECONDS, Promise.all(ends))
  stop()
  const fired = proxy.done > last
  proxy.play([])
  const problems = (all ?? []).flatMap((error) => (error === null ? [] : [`failed: ${error.message}`]))
  const hang = all === null
  const isWhole = handles.map((_, i) => all?.[i] === null)
  const wrongTokens = await wrongOf(world, fault.asks, handles, isWhole)
  const leaks = hang ? [] : await leaksOf(world)
  const { seed, kind, phase, detail } = fault
  const outcome = {
    seed,
    kind,
    phase,
    detail,
    wrongTokens,
    documentedError: null,
    hang,
    leaks,
    problems,
    recoverySeconds: gaps.longest,
  }
  const bad = wrongTokens > 0 || hang || leaks.length > 0 || problems.length > 0
  return fired || bad ? outcome : null
}

/** What a service would do about a link that is gone. Returns what ends it. */
function react(world: World, { reaction, asks }: WireFault, handles: readonly GeneratorHandle[]): () => void {
  if (reaction === 'wait') return () => {}
  const alone = alonePlan(MODEL)
  let isOver = false
  const end = world.link.onEvent(({ kind }) => {
    if (isOver) return
    if (kind === 'link-down')
      for (const handle of handles) if (handle.needsCloud) handle.switchPlan(alone, 'boundary')
    if (kind !== 'link-up' || reaction === 'alone') return
    for (const [i, handle] of handles.entries())
      if (!handle.needsCloud) handle.switchPlan(planNamed(asks[i].plan, MODEL), 'ids')
  })
  return () => {
    isOver = true
    end()
  }
}

/** Tokens against the law: the same schedule without faults; in the exact profile without switches, too. */
async function wrongOf(
  world: World,
  asks: readonly Ask[],
  handles: readonly GeneratorHandle[],
  isWhole: readonly boolean[],
): Promise<number> {
  let wrong = 0
  for (const [i, { tokens, planSwitches: schedule }] of handles.entries()) {
    const nearTie = tokens.findIndex((token) => token.nearTie)
    const ids = tokens.map(({ id }) => id)
    const forced = await world.told(asks[i], schedule)
    wrong += differing(ids, forced, { isWhole: isWhole[i] })
    if (!isExact(asks[i].plan)) continue
    // Past a near-tie other sums may tell another story: only where nothing was switched is it the same to the bit.
    const until = schedule.length === 1 || nearTie < 0 ? Infinity : nearTie
    wrong += differing(ids, await world.told(asks[i]), { isWhole: isWhole[i], until })
  }
  return wrong
}

/** Tokens before `until` that are others, too many, or missing; one that failed or hangs is short by right. */
export function differing(
  ids: readonly number[],
  expected: readonly number[],
  { isWhole, until = Infinity }: { readonly isWhole: boolean; readonly until?: number },
): number {
  const length = isWhole ? Math.max(ids.length, expected.length) : ids.length
  return Array.from({ length }, (_, i) => i).filter((i) => i < until && ids[i] !== expected[i]).length
}
