import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { canonicalJson, sha256, writeAtomic, writeChunks } from '../../core/files.ts'
import type { ExternalData } from '../../core/onnx/proto.ts'
import { dtypes, sizeOf, bytesOf, tensor } from '../../core/onnx/tensor.ts'
import { encodeModel } from '../../core/onnx/write.ts'
import type { WeightBlock, WeightTensor } from './blocks.ts'
import type { InitializerWriter } from './scope.ts'
import { buildSubgraph } from './subgraph.ts'
import { unitsLabel } from './subgraphBlocks.ts'
import { usableRecord, writeRecord } from './subgraphRecord.ts'
import type { Subgraph, SubgraphPart } from './subgraphTypes.ts'
import type { RuntimePrecision } from '../precision.ts'
import type { WeightSource } from './source.ts'

/** Alignment of external data, which ONNX Runtime maps by pages. */
const PAGE_BYTES = 4096
/** Smaller tensors (norms and biases) share pages. */
const OWN_PAGE_BYTES = 16_384
const SMALL_ALIGNMENT = 64
/** Longest readable part of a file name. */
const LABEL_LIMIT = 80
/** Version of the weight files' layout. Raise it with every change of their contents: older files are then ignored. */
const LAYOUT = 2
/**
 * Version of the graphs. Raise it with every change to the graphs that subgraphs become; otherwise older files would be
 * used.
 */
export const GRAPH_VERSION = 2

/** A subgraph in the store. */
interface StoredSubgraph {
  /** Path of the graph; its weights lie beside it. */
  readonly path: string
  /** Bytes of all constants of the graph, in all files. */
  readonly weightBytes: number
  /** Bytes that had to be written: 0 if all files existed. */
  readonly writtenBytes: number
}

/** Stores subgraphs as files. */
export interface SubgraphStore {
  /** Returns the files of a subgraph, and writes what is missing. Throws InputError if no graph can be built for it. */
  store(subgraph: Subgraph, batch?: number): StoredSubgraph
}

/**
 * Opens a store of subgraphs in `folder`. Nothing in the folder distinguishes two models of the same shape, so name it
 * by the weights' fingerprint.
 * The weights of a block (layer, units, precision) lie in one file, written when a subgraph first needs it. Every graph
 * that uses the block refers to this file and the runtime maps it, so that subgraphs and processes share the memory. A
 * file of the wrong size is written again; files are written atomically.
 * A graph whose files all exist is used without being built: its name identifies everything that it depends on, and a
 * record beside it lists the files that it refers to.
 */
export function openSubgraphStore(
  folder: string,
  source: WeightSource,
  precision: RuntimePrecision,
): SubgraphStore {
  return {
    store(subgraph, batch = 1) {
      const path = join(folder, subgraphFile(source, subgraph, batch, precision))
      const record = usableRecord(folder, path)
      if (record !== null) return { path, weightBytes: record.weightBytes, writtenBytes: 0 }
      const files = new BlockFiles(folder)
      const graph = buildSubgraph(source, subgraph, { batch, precision, place: files.place })
      const model = graph.toModel()
      const weightBytes = model.graph.initializers.reduce(
        (sum, it) => sum + ('tensor' in it ? it.tensor.data.byteLength : it.external.lengthBytes),
        0,
      )
      const bytes = encodeModel(model)
      const known = existsSync(path) && readFileSync(path).equals(bytes)
      if (!known) writeAtomic(path, bytes)
      writeRecord(path, { graphSha256: sha256(bytes), weightBytes, blocks: files.sizes })
      return { path, weightBytes, writtenBytes: files.writtenBytes + (known ? 0 : bytes.byteLength) }
    },
  }
}

/** Stores blocks in files, and writes each file that does not exist yet. */
class BlockFiles {
  writtenBytes = 0
  /** Size in bytes of every file that was requested. */
  readonly sizes: Record<string, number> = {}
  private readonly folder: string
  private readonly placed = new Map<WeightBlock, ReadonlyMap<WeightTensor, ExternalData>>()

  constructor(folder: string) {
    this.folder = folder
  }

  readonly place: InitializerWriter = (graph, name, weight, block) => {
    const places = this.placed.get(block) ?? this.ensure(block)
    this.placed.set(block, places)
    return graph.external(name, weight.dtype, weight.dims, places.get(weight)!)
  }

  private ensure(block: WeightBlock): ReadonlyMap<WeightTensor, ExternalData> {
    const location = blockFile(block)
    const { places, endBytes } = layOut(block, location)
    const path = join(this.folder, location)
    this.sizes[location] = endBytes
    if (statSync(path, { throwIfNoEntry: false })?.size !== endBytes) {
      writeChunks(path, chunksOf(places))
      this.writtenBytes += endBytes
    }
    return places
  }
}

function layOut(block: WeightBlock, location: string) {
  const places = new Map<WeightTensor, ExternalData>()
  let endBytes = 0
  for (const weight of Object.values(block.tensors)) {
    const lengthBytes = sizeOf(weight.dims) * dtypes[weight.dtype].bytes
    const alignment = lengthBytes >= OWN_PAGE_BYTES ? PAGE_BYTES : SMALL_ALIGNMENT
    const offsetBytes = Math.ceil(endBytes / alignment) * alignment
    places.set(weight, { location, offsetBytes, lengthBytes })
    endBytes = offsetBytes + lengthBytes
  }
  return { places, endBytes }
}

/** A file's bytes, with one tensor in memory at a time. */
function* chunksOf(places: ReadonlyMap<WeightTensor, ExternalData>): Generator<Uint8Array> {
  let at = 0
  for (const [{ dtype, dims, data }, { offsetBytes, lengthBytes }] of places) {
    yield new Uint8Array(offsetBytes - at)
    yield bytesOf(tensor(dtype, dims, data()))
    at = offsetBytes + lengthBytes
  }
}

/** E.g. `layer3.attention.u0-5.fp32.v1.bin`. */
function blockFile({ name, variant, precision }: WeightBlock): string {
  const label = variant === undefined ? name : bounded(`${name}.${variant}`)
  return `${label}.${precision}.v${LAYOUT}.bin`
}

/**
 * E.g. `embed+attention0.u0-5+ffn0+head.fp32.1f0c2b5a77d1e4b0.onnx`; the digest distinguishes subgraphs with the same
 * label.
 */
function subgraphFile(
  { model, exitLayers }: WeightSource,
  subgraph: Subgraph,
  batch: number,
  precision: RuntimePrecision,
): string {
  const { input, parts } = subgraph
  const versions = { layout: LAYOUT, graph: GRAPH_VERSION }
  const all = { model, exitLayers, input, parts, batch, precision, ...versions }
  const digest = sha256(canonicalJson(all)).slice(0, 16)
  const label = parts.map(partLabel).join('+').slice(0, LABEL_LIMIT)
  return `${label}${batch === 1 ? '' : `.batch${batch}`}.${precision}.${digest}.onnx`
}

function partLabel(part: SubgraphPart): string {
  if (part.kind === 'attention') return `attention${part.layer}.${unitsLabel(part.units)}`
  if (part.kind === 'ffn') return `ffn${part.layer}${part.part === 'whole' ? '' : `.${part.part}`}`
  return part.kind === 'exit' ? `exit${part.layer}` : part.kind
}

/** The label, or its beginning and a digest of the whole. */
function bounded(label: string): string {
  return label.length <= LABEL_LIMIT ? label : `${label.slice(0, LABEL_LIMIT)}~${sha256(label).slice(0, 16)}`
}
