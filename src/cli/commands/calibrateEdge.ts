import { join } from 'node:path'
import { InputError } from '../../core/errors.ts'
import { openCloudHost } from '../../lab/calibrate/cloudHost.ts'
import { openEdgeHost } from '../../lab/calibrate/edgeHost.ts'
import { CLOUD_BATCH } from '../../lab/calibrate/predict.ts'
import { parentChannel, serveRpc, type RpcMethods } from '../../lab/calibrate/rpc.ts'
import { helloPayload } from '../../run/executor/hello.ts'
import { openExecution } from '../../run/executor/open.ts'
import { openSubgraphStore } from '../../model/graphs/subgraphStore.ts'
import { parseRuntimePrecision } from '../../model/precision.ts'
import { openPretrained } from '../../model/weights/open.ts'
import { addExamples, type CliCommand } from '../command.ts'
import type { Io } from '../io.ts'
import { requireChoice } from '../options.ts'
import { packageRoot, packageVersion } from '../../core/packageRoot.ts'
import { openSubgraphFolder } from '../../model/graphs/subgraphFolder.ts'

interface Options {
  readonly model: string
  readonly side: string
  readonly precision: string
  readonly listen: string
  readonly insecureNetwork?: boolean
  readonly cache?: string
}

/** One side of a calibration in a process of its own; `edgewise calibrate` starts and controls both. */
export const calibrateEdge: CliCommand<Options> = {
  name: 'calibrate-edge',
  summary: 'one side of `edgewise calibrate`; not for users',
  configure(command) {
    command
      .requiredOption('--model <id|path>', 'as of `edgewise calibrate`')
      .option('--side <side>', 'edge or cloud', 'edge')
      .option('--precision <name>', 'of the weights', 'fp32')
      .option('--listen <host>', 'address of the cloud', '127.0.0.1')
      .option('--insecure-network', 'between the namespaces of an emulated WAN')
      .option('--cache <folder>', "where the graphs are kept (default: the user's cache folder)")
    addExamples(command, [
      ['How `edgewise calibrate` starts the cloud', 'calibrate-edge --model tales --side cloud'],
    ])
  },
  async run(options, io) {
    const channel = parentChannel()
    if (channel === null) {
      throw new InputError({
        where: 'calibrate-edge',
        expected: 'a parent process that controls it',
        found: 'none',
        remedy: 'use `edgewise calibrate`',
      })
    }
    const opened = await openSide(options, io)
    const gone = new Promise<void>((resolve) => {
      channel.onClose(() => resolve())
      io.signal.addEventListener('abort', () => resolve(), { once: true })
    })
    serveRpc(opened.methods, channel)
    await gone
    await opened.methods.close().catch(() => undefined)
    opened.removeGraphs()
  },
}

interface Opened {
  readonly methods: RpcMethods & { close(): Promise<void> }
  removeGraphs(): void
}

async function openSide(options: Options, io: Io): Promise<Opened> {
  const side = requireChoice('--side', options.side, ['edge', 'cloud'] as const)
  const precision = parseRuntimePrecision(options.precision, '--precision')
  const { source, fingerprint } = openPretrained(options.model, {
    builtinFolder: join(packageRoot(), 'models'),
  })
  const { model } = source
  const { clock } = io
  const graphs = openSubgraphFolder(io.env, options.cache, fingerprint, precision)
  const files = openSubgraphStore(graphs.folder, source, precision)
  const insecureNetwork = options.insecureNetwork === true
  const open = (maxBatch: number) => openExecution({ model, files, clock, threads: 1, maxBatch })
  const batch = side === 'cloud' ? CLOUD_BATCH : undefined
  const greeting = helloPayload(
    `edgewise ${packageVersion()}`,
    { id: model.id, fingerprint },
    precision,
    batch,
  )
  const common = { greeting, clock, insecureNetwork }
  const removeGraphs = (): void => graphs.close()
  if (side === 'cloud') {
    const execution = await open(CLOUD_BATCH)
    const host = await openCloudHost({ ...common, model, execution, host: options.listen })
    return { removeGraphs, methods: { ...host } }
  }
  const host = await openEdgeHost({ ...common, source, openExecution: () => open(1) })
  return {
    removeGraphs,
    methods: {
      connect: host.connect.bind(host),
      roundTrips: host.roundTrips.bind(host),
      profile: host.profile.bind(host),
      run: host.run.bind(host),
      collect: host.collect.bind(host),
      load: host.load.bind(host),
      close: host.close.bind(host),
    },
  }
}
