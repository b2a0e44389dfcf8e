import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { join, resolve } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

const root = resolve(import.meta.dirname, '../..')
const dist = join(root, 'dist')
const edge = join(dist, 'edge.js')
const packageJson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** Everything a module's text imports, statically or not. */
function specifiersOf(text: string): string[] {
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) &&
      node.moduleSpecifier !== undefined
    ) {
      found.push((node.moduleSpecifier as ts.StringLiteral).text)
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const argument = node.arguments[0]
      found.push(ts.isStringLiteralLike(argument) ? argument.text : `computed: ${argument.getText()}`)
    }
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile('x.js', text, ts.ScriptTarget.Latest, true))
  return found
}

/** What of it an edge device does not have: all but Node and ONNX Runtime. */
function foreign(specifiers: readonly string[]): string[] {
  return specifiers.filter((name) => {
    if (name.startsWith('node:')) return !builtinModules.includes(name.slice('node:'.length))
    return name !== 'onnxruntime-node' && name !== 'onnxruntime-web'
  })
}

describe.skipIf(!existsSync(edge))(
  'what an edge device loads (skipped where dist/edge.js is not built)',
  () => {
    it('is one file that imports Node and ONNX Runtime alone', () => {
      const specifiers = specifiersOf(readFileSync(edge, 'utf8'))
      expect(specifiers.length).toBeGreaterThan(0)
      expect(foreign(specifiers)).toEqual([])
    })
  },
)

describe('the check of the edge build', () => {
  it('sees packages, other files and computed imports', () => {
    const text = `import 'node:fs'\nimport x from 'onnxruntime-node'\nimport { z } from 'zod'\nexport * from './a.js'\nawait import(name)\nimport 'node:nonsense'`
    expect(foreign(specifiersOf(text))).toEqual(['zod', './a.js', 'computed: name', 'node:nonsense'])
  })
})

describe.skipIf(!existsSync(dist))('the package (skipped where dist is not built)', () => {
  it('has its program, executable, and types beside every public module', () => {
    expect(statSync(join(root, packageJson.bin.edgewise)).mode & 0o111).not.toBe(0)
    const files = existsSync(join(dist, 'api')) ? readdirSync(join(dist, 'api')) : []
    const modules = files.filter((file) => file.endsWith('.js')).map((file) => file.slice(0, -3))
    expect(modules.filter((name) => !files.includes(`${name}.d.ts`))).toEqual([])
  })

  it('declares every package that the build imports', () => {
    const built = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((file) =>
      file.endsWith('.js'),
    )
    const names = built
      .filter((file) => !file.startsWith('bench'))
      .flatMap((file) => specifiersOf(readFileSync(join(dist, file), 'utf8')))
      .filter((name) => !name.startsWith('.') && !name.startsWith('node:') && !name.startsWith('computed: '))
      .map((name) =>
        name
          .split('/')
          .slice(0, name.startsWith('@') ? 2 : 1)
          .join('/'),
      )
    const declared = Object.keys(packageJson.dependencies)
    expect([...new Set(names)].filter((name) => !declared.includes(name))).toEqual([])
  })
})
