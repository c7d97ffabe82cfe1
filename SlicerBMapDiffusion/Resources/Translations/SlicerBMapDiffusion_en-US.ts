<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="en_US" sourcelanguage="en_US">
    <context>
        <name>BMapDiffusionPanel</name>
        <message>
            <source>1. Model and anatomy</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Model:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The trained network that draws the images. It decides which organ, which labels and which kind of probe.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Add a model from a folder or file of this computer or from the network, or remove one.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>...</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Segmentation:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The anatomy that the image will show. Load one, or make one in the Segment Editor.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose a segmentation</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Say which segment is which structure of the model. Lower rows are drawn over upper ones where segments overlap.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Draw the chosen segment earlier: others may cover it.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>▲</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Draw the chosen segment later: it covers others.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>▼</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Guess the classes again, from terminology and names.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>↺</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>2. Image plane</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Image lies in:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>What decides where the image lies in the patient.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Slice view:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The probe stands at the middle of the upper edge of this view and looks down.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose a slice view</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Loaded image:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>An image volume: its slices can be the planes, the beam can be fitted to it, and an image can start from it.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose a loaded image</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Slice:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Number of the slice in the volume, the middle one of a sweep.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>middle</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The rows of this volume count upwards: the probe is at its last row.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>probe at the bottom</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Probe:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Transform of a tracked probe: X to the marked side, Y away from the probe, Z out of the plane (as PLUS has it).</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose a transform</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Line or plane:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>A line is the face of the probe; drawn from left to right, the beam points down. A plane holds the image: its columns run along the red axis, depth along the green one.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose a markup</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Moves the slice view, and the slice of the volume, to the middle of the segments that the table names.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Go to the anatomy</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>3. Output</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Make:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>One image, a stack of neighbouring images, or several different images of one plane.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Images:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Number of images in the sweep. All start from the same noise, so that the sweep does not flicker.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Distance:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Distance from image to image, out of the plane.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source> mm</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Variants:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Number of different images of the same plane.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Draw the synthetic ultrasound image.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Generate</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Share of the denoising steps that are done.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Stop drawing and forget what waits. The scene stays as it is.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Cancel</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The image as it emerges from the noise.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The last lines of the program that draws.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Beam</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Beam:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Where the shape of the beam comes from.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Find the beam.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Fit</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Shape:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Linear: a rectangle. Curvilinear: a sector with a curved face. Phased: a sector from a small face.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Depth:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>From the face of the probe to the end of the image.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Width:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Width of the face of a linear probe.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Face radius:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Radius of the curved face: about 60 mm for an abdominal probe; near 0 for a phased array.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Half angle:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Angle from the middle line to the edge of the sector.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source> °</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Steering:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Tilt of the sector; positive to the right.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Move down:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Distance of the middle of the face from the upper edge of the image.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Move right:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Distance of the middle of the face from the middle of the image.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Draws the outline of the beam where the image will lie.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Show the beam in the slice views</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Advanced</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>B-map strength:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>How much signal the sound loses on its way to the far end and back. The noise grows with depth accordingly. The value the model was trained with is best; 0 is ordinary diffusion.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source> dB</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Steps:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Denoising steps for each image. More take longer and look little better.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Follow labels:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Guidance: exaggerates what the labels say. Takes twice the time.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>stronger</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Weight of the guidance: 1 is none, 1.5 a little.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Seed:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>A new random number for each image. It is written down with the result, so that it can be made again.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>random</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The same seed and settings give the same image.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Start from:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Change the loaded image instead of starting from noise.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>loaded image</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>How much may change: 0.05 almost nothing, 1 everything.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Otherwise the size and the pixel spacing that the model was trained with are used, which is best.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Own image size</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Pixels:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Pixels across.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source> across</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Pixels in depth.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source> down</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Pixel spacing:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Distance between pixels across.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Distance between pixels in depth.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Compute on:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Automatic takes the graphics card where there is one.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>A small preview; costs almost no time.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Show the image while it is drawn</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Copies a terminal command that makes the same image without Slicer.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Copy command</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Earlier results</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Result:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>A synthetic image in the scene.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose a synthetic image</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Draws the image again with the same settings and the same seed.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Make again</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Sets the whole panel to what made this image, its seed included, and turns the slice view back to it.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Use its settings</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>SlicerBMapDiffusion</name>
        <message>
            <source>B-Map Diffusion</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Draws synthetic ultrasound images from a segmentation: choose the segmentation, say where the image lies, press Generate. The images lie where they belong in space and are marked as synthetic. Not for diagnosis.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The method is that of Dominguez et al., Diffusion as Sound Propagation, MICCAI 2024 (arXiv:2407.05428).</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Drawing an image of the heart phantom</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The test passed</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>SlicerBMapDiffusionLib.beam_finding</name>
        <message>
            <source>Choose the loaded image that the file belongs to (2. Image plane).</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>{path} cannot be read: {reason}</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The file holds no mask of SlicerUltrasound; save it there with Anonymize Ultrasound.</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>SlicerBMapDiffusionLib.errands</name>
        <message>
            <source>Choose the loaded image first (2. Image plane).</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Looking for the beam ...</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Checking the packages ...</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The packages are installed and work.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Installing the model ...</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Downloading the model: {done:.0f} of {total:.0f} MB</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>SlicerBMapDiffusionLib.logic</name>
        <message>
            <source>The segmentation or image has changed since: the new image will differ.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The plane has moved since: Make again draws the image where it was.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>{name} was deleted while its image was drawn, so that drawing stopped.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose an image that this module made.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>{text} ({n} more waiting)</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>{name} is ready: seed {seed}, {seconds:.0f} s.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>{input} synthetic</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Starting Python ...</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Loading the model ...</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Drawing ...</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Writing the result ...</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Image {image} of {images}, step {step} of {steps}</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>SlicerBMapDiffusionLib.parameters</name>
        <message>
            <source>A slice view: probe at its top edge</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The slices of the volume</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>A tracked probe (transform)</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>A line or plane markup</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The model's usual beam</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Fitted to the loaded image</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>From a SlicerUltrasound file</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Set by hand</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Linear (rectangle)</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Curvilinear (convex)</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Phased (sector)</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>One image</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>A sweep (3D volume)</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Several variants (sequence)</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Automatic</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Graphics card (CUDA)</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Processor (CPU)</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>SlicerBMapDiffusionLib.planning</name>
        <message>
            <source>Choose the slice view that the image lies in.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose the transform of the probe.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose a line or a plane: draw one with the Markups module.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose the loaded image whose slices are the planes.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>This model draws images of another probe. Choose the shape {shape} under Beam.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose a segmentation, and say in the table which segment is which structure.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose a model.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose a segmentation: load one, or make one in the Segment Editor.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>This segmentation is empty: draw a segment in the Segment Editor.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Say in the table which segment is which structure of the model.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose the loaded image to start from, or untick it under Advanced.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The segmentation that this image was made from is no longer in the scene.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The image that this one started from is no longer in the scene.</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>SlicerBMapDiffusionLib.self_test</name>
        <message>
            <source>Python packages are missing: the test ends before an image is drawn.</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>SlicerBMapDiffusionLib.widget</name>
        <message>
            <source>File of SlicerUltrasound</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>JSON (*.json)</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The command is on the clipboard: paste it into a terminal.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Stopped; the scene is as it was.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The beam was found: look at its outline in the slice view.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Python packages are missing; Generate will offer to install them.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>These Python packages are missing and will be installed into Slicer:

{packages}

This takes some minutes and happens once.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>B-Map Diffusion</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>models.shelf</name>
        <message>
            <source>The model {name} is not on this computer.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>There is a model named {name} already; rename the folder.</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>panel.beam_display</name>
        <message>
            <source>Handles of the beam</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>probe</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>depth</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>width</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>panel.model_menu</name>
        <message>
            <source>Add the folder of a model...</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Install a model from a file (.zip)...</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Download a model...</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Remove this model</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Folder of a model</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Model to install</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Models (*.zip)</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Address of the model, https://.../model.zip#sha256=...:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Download a model</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Remove the model {title}?</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>A model can hold Python code, which runs when images are drawn.

Add {path} only if you trust its source.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>B-Map Diffusion</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>panel.run_box</name>
        <message>
            <source>Generate another</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Generate</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>panel.segment_table</name>
        <message>
            <source>Segment</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Structure of the model</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>(left out)</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>What this segment is for the model. Segments that are left out are drawn as other tissue.</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>panel.view</name>
        <message>
            <source>No model was found. Add the folder of a bundle.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Licence:</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>A model cannot be used: rest here.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>{width:.0f} mm wide, {depth:.0f} mm deep; {columns} x {rows} pixels of {column:.2f} x {row:.2f} mm.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Fit</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose file...</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Choose an image that this module made.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>{model}; seed {seed}, {steps} steps, B-map {db} dB.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Draw the synthetic ultrasound image.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Something went wrong.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Labels: {labels}. Full terms: {file}</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>none</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Its training images do not say how large their pixels are; a typical size is taken.</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>qSlicerAbstractCoreModule</name>
        <message>
            <source>Ultrasound</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>scene.frames</name>
        <message>
            <source>The volume has slices 0 to {last}, not {index}.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The probe's transform is not linear; choose a rigid one.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>{name} is neither a line nor a plane.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The plane {name} is not drawn yet; place its points.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The volume holds no voxels; choose one with an image.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>{name} lies under a non-linear transform; harden it first (Data module, Harden transform).</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The line {name} has fewer than two points; draw it.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Say in which slice view the line was drawn: it alone gives no plane.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The line runs across the slice view; draw it within the view.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The volume has {all} slices, not {count}.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The volume's slices are sheared against each other; resample it, or take single slices.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The volume's rows and columns are not perpendicular; resample it (Resample module).</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>scene.input</name>
        <message>
            <source>There is no segment; choose a segmentation, or draw one in the Segment Editor.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>No segment is mapped to a class; choose a class for at least one segment.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>These segments are gone: {names}. Choose them again.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>A label must lie in 1 to 255, got {label}.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The volume {name} lies outside the frame; move one of them.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The spacing of {name} is 1 mm in every direction, which is what Slicer takes where a file says nothing: sizes may be wrong. Set the spacing in the Volumes module.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>{name} is very large; crop it (Crop Volume module) if memory gets short.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Pixels of {row:.2f} x {column:.2f} mm; the model was trained on {r:.2f} x {c:.2f} mm.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The image is {depth:.0f} mm deep; the model was trained on about {trained:.0f} mm.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Segment {name} is stored as {kind}; create a binary labelmap of it in the Segmentations module.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>The mapped segments are empty: {names}. Draw them in the Segment Editor.</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>No mapped segment meets the image plane: press Go to the anatomy, or move the plane to where they are.</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>scene.output</name>
        <message>
            <source>Images of {got} do not fit a frame of {expected} (8-bit grey); make them again.</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>scene.sample_data</name>
        <message>
            <source>Heart phantom (B-map diffusion)</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>Thyroid phantom (B-map diffusion)</source>
            <translation type="unfinished" />
        </message>
        <message>
            <source>{path} cannot be read; install the extension again.</source>
            <translation type="unfinished" />
        </message>
    </context>
    <context>
        <name>scene.views</name>
        <message>
            <source>Beam of the B-map diffusion</source>
            <translation type="unfinished" />
        </message>
    </context>
</TS>
