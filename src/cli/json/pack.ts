import { z } from 'zod'
import { packBytes } from '../pack/write.ts'
import { packManifestSchema, type Pack } from '../pack/manifest.ts'

const { edgewise, target, node, onnxruntime, model, bundle } = packManifestSchema.shape

/** What `edgewise pack --json` prints, with and without --check. */
export const packJsonSchema = z.strictObject({
  folder: z.string(),
  edgewise,
  target,
  node,
  onnxruntime,
  model,
  bundle,
  /** Files besides the manifest. */
  files: z.int().min(1),
  bytes: z.int().min(1),
  /** Of the device's program, edgewise.mjs. */
  programBytes: z.int().min(1),
  manifestSha256: z.string(),
})

/** What `edgewise pack --json` prints. */
export type PackJson = z.infer<typeof packJsonSchema>

/** A pack as `edgewise pack --json` prints it. */
export function packJson({ folder, manifest, manifestSha256 }: Pack): PackJson {
  const { edgewise, target, node, onnxruntime, model, bundle, files } = manifest
  return {
    folder,
    edgewise,
    target,
    node,
    onnxruntime,
    model,
    bundle,
    files: Object.keys(files).length,
    bytes: packBytes(folder),
    programBytes: files['edgewise.mjs'].bytes,
    manifestSha256,
  }
}
