import { attentionUnits } from '../../model/spec.ts'
import type { Bench } from './blocks.ts'
import { LoadedSubgraph } from './blocks.ts'
import { layerChain } from './subgraphs.ts'
import { summarise } from './timing.ts'

/** As long as a message over a WAN takes: caches, clock frequency and threads are idle by then. */
const PAUSE_SECONDS = 0.02
const REPEATS = 30
/** Context of the decode step that is timed. */
const CONTEXT_TOKENS = 64

/** Waits. */
export type Sleep = (seconds: number) => Promise<void>

/**
 * Additional seconds of a call after a pause, compared with one directly after another call: the difference of the
 * medians of one layer's decode step, measured alternately. Depends little on what is called.
 */
export async function measureWake(bench: Bench, sleep: Sleep): Promise<number> {
  const { model } = bench.source
  const step = { tokens: 1, position: Math.min(CONTEXT_TOKENS, model.contextTokens >> 1) }
  const loaded = await LoadedSubgraph.load(bench, 'wake', layerChain(1, attentionUnits(model)), step)
  try {
    const run = await loaded.runner(step)
    const time = async (): Promise<number> => {
      const start = bench.clock.nowSeconds()
      await run()
      return bench.clock.nowSeconds() - start
    }
    const paused: number[] = []
    const hot: number[] = []
    for (let i = 0; i < REPEATS; i++) {
      await sleep(PAUSE_SECONDS)
      paused.push(await time())
      hot.push(await time())
    }
    return Math.max(0, summarise(paused).medianSeconds - summarise(hot).medianSeconds)
  } finally {
    await loaded.dispose()
  }
}
