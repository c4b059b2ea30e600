"""Menu group "photo", first of all: Restore Photo, the other nodes' work in one."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from .account import notes, told
from .pairs import beside, shown_pair
from .problems import PROBLEMS
from .progress import last_picture
from .repair import QUALITIES, Task, conditioning_of, masks_of, restore_photo
from .sampling_inputs import DRAFT_VAE
from .types import CATEGORY, check_choice, check_image, seed_input


class RestorePhoto(io.ComfyNode):
    """From a photo and what is wrong with it to the restored one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSLD_RestorePhoto",
            display_name="Restore Photo",
            category=CATEGORY,
            description="Repairs a photo with the diffusion model you have: sharpens, enlarges, removes noise, fills "
            "holes, removes scratches and JPEG blocks, adds colour. Keeps what the photo says.",
            inputs=[
                io.Image.Input("image", tooltip="The photo, of any size; or several of one size."),
                io.Model.Input("model", tooltip="From Load Checkpoint, or Load Latent Diffusion (LDM)."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Combo.Input(
                    "problem",
                    options=list(PROBLEMS),
                    default=next(iter(PROBLEMS)),
                    tooltip="What is wrong with the photo. Its noise is estimated beside that.",
                ),
                io.Float.Input(
                    "strength",
                    default=0.0,
                    min=0.0,
                    max=256.0,
                    step=0.1,
                    tooltip="How strong the problem is; 0 takes a good default or an estimate.\n"
                    + "\n".join(f"{name}: {problem.help}." for name, problem in PROBLEMS.items()),
                ),
                io.Combo.Input(
                    "quality",
                    options=list(QUALITIES),
                    default="balanced",
                    tooltip="\n".join(
                        f"{name}: {steps} steps, {starts} candidate(s)." for name, (steps, starts) in QUALITIES.items()
                    ),
                ),
                seed_input("Another seed makes another guess at what is lost. Image i of a batch uses seed + i."),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    tooltip="May stay empty, or say what the photo shows; needs clip.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="For fill a mask, remove scratches and restore old photo: painted = to restore.",
                ),
                io.Clip.Input("clip", optional=True, tooltip="Reads the prompt; better connected even without one."),
                DRAFT_VAE,
                io.Float.Input(
                    "angle",
                    default=0.0,
                    min=-360.0,
                    max=360.0,
                    step=1.0,
                    optional=True,
                    tooltip="Only for sharpen: motion. In degrees, counter-clockwise from horizontal.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="restored", tooltip="At the photo's own, or the enlarged, size."),
                io.Image.Output(display_name="before|after", tooltip="The photo beside the restored one."),
                io.String.Output(display_name="report", tooltip="What was done, and whether it matches the photo."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        image,
        model,
        vae,
        problem,
        strength,
        quality,
        seed,
        prompt,
        mask=None,
        clip=None,
        draft_vae=None,
        angle=0.0,
    ) -> io.NodeOutput:
        check_image(image)
        check_choice("problem", problem, PROBLEMS)
        check_choice("quality", quality, QUALITIES)
        image = image.expand(-1, -1, -1, 3)
        conditioning, note = conditioning_of(model, clip, prompt)
        task = Task(model, vae, PROBLEMS[problem], strength, angle, quality, conditioning, draft_vae)
        masks = masks_of(image, mask, task, problem)
        results = [
            restore_photo(task, photo[None], marked[None], (seed + i) % 2**64)
            for i, (photo, marked) in enumerate(zip(image, masks, strict=True))
        ]
        restored = torch.cat([result.restored for result in results])
        pair = beside(image, restored)
        said = notes(problem, task, results, mask is not None and bool(mask.any())) | {note} - {""}
        report = "\n\n".join(told(problem, task, result) for result in results)
        report = "\n".join([report, *(f"Note: {text}" for text in sorted(said))])
        shown = shown_pair(image, restored)
        last_picture(shown, QUALITIES[quality][0])
        pictures = ui.PreviewImage(shown, cls=cls).as_dict()
        return io.NodeOutput(restored, pair, report, ui=pictures | {"text": [report]})


NODES = [RestorePhoto]
