/** Types that the packages do not declare. */

declare module 'dicom-parser' {
  export function readPart10Header(bytes: Uint8Array): DataSet & { readonly position: number };
  export const DataSet: new (parser: ByteArrayParser, bytes: Uint8Array, elements: Record<string, Element>) => DataSet;
}

interface FrameInfo {
  readonly width: number;
  readonly height: number;
  readonly bitsPerSample: number;
  readonly componentCount: number;
  readonly isSigned?: boolean;
}

/** The interface of the three WebAssembly decoders. */
interface WasmDecoder {
  getEncodedBuffer(length: number): Uint8Array;
  getDecodedBuffer(): Uint8Array;
  getFrameInfo(): FrameInfo;
  decode(): void;
  delete(): void;
}

declare module '@cornerstonejs/codec-openjpeg/decodewasmjs' {
  export default function create(options: { wasmBinary: Uint8Array }): Promise<{ J2KDecoder: new () => WasmDecoder }>;
}

declare module '@cornerstonejs/codec-charls/decodewasmjs' {
  export default function create(options: { wasmBinary: Uint8Array }): Promise<{ JpegLSDecoder: new () => WasmDecoder }>;
}

declare module '@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs' {
  export default function create(options: { wasmBinary: Uint8Array }): Promise<{ JPEGDecoder: new () => WasmDecoder }>;
}
