import type { RolloutBuffer } from './rolloutBuffer.ts'

/** Undiscounted returns and lengths of the episodes that ended since the last report. */
export class EpisodeLog {
  /** [N, 3]: performance, stability, decisions of the running episodes. */
  private readonly running: Float64Array
  private readonly ended: [performance: number, stability: number, decisions: number][] = []

  constructor(envs: number) {
    this.running = new Float64Array(envs * 3)
  }

  take(rollout: RolloutBuffer): void {
    const { performance, stability, terminated, truncated, envs } = rollout
    const { running } = this
    for (let i = 0; i < performance.length; i++) {
      const at = (i % envs) * 3
      running[at] += performance[i]
      running[at + 1] += stability[i]
      running[at + 2]++
      if (terminated[i] === 0 && truncated[i] === 0) continue
      this.ended.push([running[at], running[at + 1], running[at + 2]])
      running.fill(0, at, at + 3)
    }
  }

  /** Means over the episodes that ended, null if none did, and a reset. */
  report(): Record<'episodes' | 'performanceReturn' | 'stabilityReturn' | 'episodeDecisions', number | null> {
    const ended = this.ended.splice(0)
    const mean = (part: 0 | 1 | 2): number | null =>
      ended.length === 0 ? null : ended.reduce((sum, episode) => sum + episode[part], 0) / ended.length
    return {
      episodes: ended.length,
      performanceReturn: mean(0),
      stabilityReturn: mean(1),
      episodeDecisions: mean(2),
    }
  }

  state(): { running: number[] } {
    return { running: [...this.running] }
  }

  restore(state: { running: number[] }): void {
    this.running.set(state.running)
    this.ended.length = 0
  }
}
