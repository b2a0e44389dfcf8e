import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

const link = (upMbps: number) => ({ upMbps, downMbps: 4 * upMbps, rttMs: 30 })

/** `small.scenario.yaml`, with everything constant, and `small.train.yaml`, a training of seconds on it. */
export function writeSmallTraining(folder: string): void {
  const scenario = {
    schema: 'edgewise.scenario/1',
    name: 'small',
    description: 'a test',
    model: 'tiny',
    edge: 'raspberry-pi-5',
    cloud: 'a100',
    links: { train: [link(1), link(20)], validation: [link(5)], test: [link(8)] },
    workload: {
      arrivals: { kind: 'poisson' },
      lengths: { promptTokens: 40, outputTokens: 12 },
      predictorLogSd: 0.3,
      load: 0.5,
      requestsPerEpisode: 8,
      maxNewTokens: 32,
    },
    tenants: { levels: [0, 2], meanSojournSeconds: [5, 5] },
    cloudSlots: 2,
    service: { maxInFlight: 2 },
    objective: {
      weights: { latency: 1, energy: 0, cloud: 1, bytes: 0, accuracy: 1 },
      latency: { form: 'mean' },
    },
    plans: { boundaryBits: [16], earlyExit: true, exitThresholds: [0.8] },
  }
  const training = {
    schema: 'edgewise.training/1',
    scenario: 'small.scenario.yaml',
    environments: 2,
    ppo: {
      totalUpdates: 4,
      stepsPerUpdate: 16,
      minibatch: 16,
      epochs: 1,
      encoder: [8],
      criticHidden: [8],
      rowHidden: 8,
    },
    validation: { everyUpdates: 2, episodes: 2 },
    checkpointEveryUpdates: 2,
  }
  writeFileSync(join(folder, 'small.scenario.yaml'), JSON.stringify(scenario))
  writeFileSync(join(folder, 'small.train.yaml'), JSON.stringify(training))
}
