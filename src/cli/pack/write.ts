import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { InputError } from '../../core/errors.ts'
import { onPath } from '../../core/fileErrors.ts'
import { readText, temporaryName } from '../../core/files.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { readBundle } from '../../policy/bundle/files.ts'
import { BUNDLE_FILES, MANIFEST_FILE } from '../../policy/bundle/manifest.ts'
import { SIGNATURE_FILE } from '../../policy/bundle/signature.ts'
import { BUILTIN_MODELS, openPretrained } from '../../model/weights/open.ts'
import type { PretrainedModel } from '../../model/weights/pretrained.ts'
import { packageRoot, packageVersion } from '../../core/packageRoot.ts'
import { checkModel } from '../../serve/edge/decideByBundle.ts'
import { filesBelow, type PackedFile } from './folder.ts'
import {
  describeFolder,
  PACK_FORMAT,
  PACK_MANIFEST,
  readPack,
  type Pack,
  type PackManifest,
} from './manifest.ts'
import { readmeOf } from './readme.ts'
import { runtimeFor, type Target } from './target.ts'

interface PackRequest {
  /** As `--model` takes it here. */
  readonly model: string
  /** Policy bundle; absent: none goes along. */
  readonly bundle?: string
  readonly target: Target
  /** Unpacked onnxruntime-node; absent: the one that this program loads. */
  readonly onnxruntime?: string
}

const PROGRAM = 'edgewise.mjs'
/** Units of systemd and what they are started with. */
const SERVICES = ['edgewise-edge.service', 'edge.env', 'edgewise-cloud.service', 'cloud.env']
/** What a Hugging Face directory is read from; nothing of a download's other formats. */
const MODEL_FILE =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|training)\.json$|^chat_template\.jinja$|\.safetensors(\.index\.json)?$|\.accuracy\.json$|^(README|LICENSE)(\.(md|txt))?$/
/** Files carry one date, so that archives of equal packs are equal too: 1980-01-01, the first that ZIP knows. */
const DATE_SECONDS = 315_532_800

/**
 * Packs what one machine needs, edge or cloud, into a new folder, which appears whole or not at all. Equal inputs give equal
 * bytes. Throws InputError for a folder in use, a model or bundle that does not open, and binaries that are missing.
 */
export function writePack(request: PackRequest, out: string): Pack {
  const target = resolve(out)
  checkFree(out)
  const temporary = temporaryName(target)
  try {
    const head = fill(temporary, request)
    put(temporary, PACK_MANIFEST, describeFolder(temporary, head))
    openFolders(temporary)
    readPack(temporary)
    if (existsSync(target)) rmdirSync(target)
    renameSync(temporary, target)
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true })
    throw error
  }
  return readPack(out)
}

/** Puts everything but the manifest there, and says what it is. */
function fill(folder: string, request: PackRequest): Omit<PackManifest, 'files'> {
  const { files, argument, pretrained } = modelFiles(request.model)
  const runtime = runtimeFor(request.target, request.onnxruntime)
  const bundle = request.bundle === undefined ? null : bundleFiles(request.bundle, pretrained.source.model)
  const all = [
    ...program(),
    ...files,
    ...runtime.files,
    ...(bundle?.files ?? []),
    ...services(request.target),
  ]
  for (const file of all) copy(folder, file)
  const { fingerprint, source } = pretrained
  const head: Omit<PackManifest, 'files'> = {
    format: PACK_FORMAT,
    version: 1,
    edgewise: packageVersion(),
    target: request.target,
    node: nodeRange(),
    onnxruntime: runtime.version,
    model: { id: source.model.id, fingerprint, argument },
    bundle: bundle?.name ?? null,
  }
  put(folder, 'package.json', `${JSON.stringify(packageOf(head), null, 2)}\n`)
  put(folder, 'README.md', readmeOf(head))
  return head
}

/** Node takes edgewise.mjs for what it is by its name; the version and the folder are found by package.json. */
function packageOf({ edgewise, node, onnxruntime }: Omit<PackManifest, 'files'>): object {
  return {
    name: 'edgewise-device',
    version: edgewise,
    private: true,
    type: 'module',
    engines: { node },
    dependencies: { 'onnxruntime-node': onnxruntime },
  }
}

function nodeRange(): string {
  const text = readText(join(packageRoot(), 'package.json'))
  return (JSON.parse(text) as { engines: { node: string } }).engines.node
}

function program(): PackedFile[] {
  const from = join(packageRoot(), 'dist', 'edge-program.js')
  if (!existsSync(from)) {
    throw new InputError({
      where: from,
      expected: "the built program of a device, in edgewise's own folder",
      found: 'none',
      remedy: '`npm run build` makes it; a packed device cannot pack another',
    })
  }
  return [
    { from, to: PROGRAM },
    { from: join(packageRoot(), 'LICENSE'), to: 'LICENSE' },
  ]
}

function services(target: Target): PackedFile[] {
  if (!target.startsWith('linux-')) return []
  return SERVICES.map((name) => ({
    from: join(packageRoot(), 'deploy', name),
    to: `deploy/${name}`,
  }))
}

interface ModelFiles {
  readonly files: readonly PackedFile[]
  readonly argument: string
  readonly pretrained: PretrainedModel
}

function modelFiles(idOrPath: string): ModelFiles {
  const pretrained = openPretrained(idOrPath, { builtinFolder: join(packageRoot(), 'models') })
  const builtin = BUILTIN_MODELS.some((id) => id === idOrPath)
  const { path } = pretrained
  const single = statSync(path).isFile()
  const folder = single ? dirname(path) : path
  // A checkpoint has its tokenizer beside it, `tok512.bin` or `tokenizer.bin`.
  const wanted = (name: string): boolean =>
    single ? name === basename(path) || /^tok.*\.bin$/.test(name) : MODEL_FILE.test(name)
  const to = builtin ? idOrPath : basename(single ? path.replace(/\.bin$/, '') : path)
  const files = readdirSync(folder)
    .sort()
    .filter((name) => wanted(name) && statSync(join(folder, name)).isFile())
    .map((name) => ({ from: join(folder, name), to: `models/${to}/${name}` }))
  return { files, argument: builtin ? idOrPath : `models/${to}`, pretrained }
}

function bundleFiles(folder: string, model: ModelSpec): { name: string; files: readonly PackedFile[] } {
  const bundle = readBundle(folder)
  checkModel(folder, model, bundle)
  const names = [MANIFEST_FILE, ...BUNDLE_FILES, SIGNATURE_FILE].filter((name) =>
    existsSync(join(folder, name)),
  )
  return {
    name: bundle.manifest.name,
    files: names.map((name) => ({ from: join(folder, name), to: `bundle/${name}` })),
  }
}

function checkFree(out: string): void {
  if (!existsSync(out)) return
  if (statSync(out).isDirectory() && readdirSync(out).length === 0) return
  throw new InputError({
    where: `--out ${out}`,
    expected: 'a new folder, or an empty one',
    found: 'something is there',
    remedy: 'name another, or remove it',
  })
}

function copy(folder: string, { from, to }: PackedFile): void {
  const path = place(folder, to)
  onPath(path, () => copyFileSync(from, path))
  settle(path)
}

function put(folder: string, to: string, text: string): void {
  const path = place(folder, to)
  onPath(path, () => writeFileSync(path, text))
  settle(path)
}

function place(folder: string, to: string): string {
  const path = join(folder, to)
  mkdirSync(dirname(path), { recursive: true })
  return path
}

/** Same mode and date whatever the source had: a device's user reads them, nobody executes them. */
function settle(path: string): void {
  chmodSync(path, 0o644)
  utimesSync(path, DATE_SECONDS, DATE_SECONDS)
}

/** Folders that a device's user may enter, whatever mask the one who packs has. */
function openFolders(folder: string): void {
  chmodSync(folder, 0o755)
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) openFolders(join(folder, entry.name))
  }
}

/** Bytes of all files of a pack, its manifest included. */
export function packBytes(folder: string): number {
  return filesBelow(folder).reduce((sum, path) => sum + statSync(join(folder, path)).size, 0)
}
